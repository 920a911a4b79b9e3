package nfsd

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"sheaf/vfs"
)

// Exports says which directories of the share which clients may use, and how. It
// is immutable; the server is given another one to change it (Server.Reload).
type Exports struct {
	// List holds the exports in the order of the text; no path twice.
	List []Export
	// Notes explains options that were accepted and have no effect here, one
	// line each, for the log.
	Notes []string
}

// Export is one exported directory.
type Export struct {
	// Path is the directory within the share: absolute, clean, any bytes but NUL.
	Path string
	// Clients are the rules, in the order of the text; no client twice.
	Clients []Client
}

// Client is a rule for some clients of an export.
type Client struct {
	// Spec is how the text names the clients: "*", an address, a network, a host.
	Spec string
	// Nets are the addresses meant, masked; empty means every client.
	Nets []netip.Prefix
	// Host is set if Spec is one host, which goes before any network.
	Host bool
	// Options are the rights of these clients.
	Options ClientOptions
}

// ClientOptions are the options of exports(5). The zero value is not its
// default; defaultOptions is.
type ClientOptions struct {
	ReadOnly   bool   // ro; rw clears it
	RootSquash bool   // root_squash: uid 0 and gid 0 become AnonUID and AnonGID
	AllSquash  bool   // all_squash: everybody becomes AnonUID and AnonGID
	Secure     bool   // secure: the client's port must be below 1024
	Async      bool   // async: changes may be answered before they are durable
	AnonUID    uint32 // anonuid=
	AnonGID    uint32 // anongid=
}

// defaultOptions are those of exports(5) for a client without a list of options.
func defaultOptions() ClientOptions {
	return ClientOptions{
		ReadOnly: true, RootSquash: true, Secure: true, AnonUID: vfs.Nobody, AnonGID: vfs.Nobody,
	}
}

// securePorts is the number of ports that only a privileged process may use
// (IPPORT_RESERVED).
const securePorts = 1024

// Resolver finds the addresses of host names; *net.Resolver is one.
type Resolver interface {
	// LookupNetIP is net.Resolver's: network is "ip".
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// specificity orders rules that match one client: a host before a network, a
// longer prefix before a shorter one, "*" last.
func (c *Client) specificity(a netip.Addr) (int, bool) {
	if len(c.Nets) == 0 {
		return 0, true
	}
	best, found := 0, false
	for _, n := range c.Nets {
		if !n.Contains(a) {
			continue
		}
		bits := 1 + n.Bits()
		if c.Host {
			bits = 2 + a.BitLen()
		}
		best, found = max(best, bits), true
	}
	return best, found
}

// match is the rule for the client at a: the most specific, the first of equals;
// nil if there is none.
func (e *Export) match(a netip.Addr) *Client {
	a = a.Unmap().WithZone("")
	var best *Client
	top := -1
	for i := range e.Clients {
		if n, ok := e.Clients[i].specificity(a); ok && n > top {
			best, top = &e.Clients[i], n
		}
	}
	return best
}

// above reports whether dir is e's directory or beneath it, and the components
// that lead from e's directory to dir.
func (e *Export) above(dir string) (rest string, ok bool) {
	if e.Path == "/" {
		return dir, true
	}
	rest, ok = strings.CutPrefix(dir, e.Path)
	return rest, ok && (rest == "" || rest[0] == '/')
}

// ParseExports reads text in the grammar of exports(5):
//
//	PATH [-OPTIONS] CLIENT[(OPTIONS)] …
//
// one export a line, "#" begins a comment, "\" at the end of a line continues
// it. A path may be in double quotes and may hold octal escapes (\040). A client
// is a host name, an address, a network (ADDRESS/BITS or ADDRESS/NETMASK) or
// "*". Host names are resolved here, by r, once; what changes in the name
// service later is seen at the next load. A path may come on several lines with
// different clients.
//
// The error names the line and says what to write instead. All mistakes of the
// text are reported, joined; then there is no Exports.
func ParseExports(ctx context.Context, text string, r Resolver) (*Exports, error) {
	p := exportParser{ctx: ctx, resolver: r, out: &Exports{}}
	var errs []error
	for _, l := range splitLines(text) {
		if err := p.line(l.text); err != nil {
			errs = append(errs, fmt.Errorf("exports, line %d: %w", l.number, err))
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return p.out, nil
}

// String is the export in the grammar of exports(5), with every option spelled out.
func (e *Export) String() string {
	var b strings.Builder
	b.WriteString(quotePath(e.Path))
	for i := range e.Clients {
		fmt.Fprintf(&b, " %s(%s)", e.Clients[i].Spec, e.Clients[i].Options)
	}
	return b.String()
}

// String is o as a list of options, with nothing left to defaults.
func (o ClientOptions) String() string {
	pick := func(b bool, yes, no string) string {
		if b {
			return yes
		}
		return no
	}
	return strings.Join([]string{
		pick(o.ReadOnly, "ro", "rw"),
		pick(o.Async, "async", "sync"),
		pick(o.Secure, "secure", "insecure"),
		pick(o.RootSquash, "root_squash", "no_root_squash"),
		pick(o.AllSquash, "all_squash", "no_all_squash"),
		fmt.Sprintf("anonuid=%d,anongid=%d", o.AnonUID, o.AnonGID),
	}, ",")
}

// quotePath writes a path so that ParseExports reads it back.
func quotePath(p string) string {
	var b strings.Builder
	for i := range len(p) {
		switch c := p[i]; {
		case c <= ' ' || c == '"' || c == '#' || c == '\\' || c == '(' || c == 0x7f:
			fmt.Fprintf(&b, `\%03o`, c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// add puts a rule under path.
func (x *Exports) add(path string, c Client) error {
	i := slices.IndexFunc(x.List, func(e Export) bool { return e.Path == path })
	if i < 0 {
		x.List = append(x.List, Export{Path: path})
		i = len(x.List) - 1
	}
	e := &x.List[i]
	for j := range e.Clients {
		if e.Clients[j].Spec == c.Spec {
			return fmt.Errorf("client %q is named twice for %s: join its options in one place", c.Spec, quotePath(path))
		}
	}
	e.Clients = append(e.Clients, c)
	return nil
}

// note remembers an explanation, once.
func (x *Exports) note(text string) {
	if !slices.Contains(x.Notes, text) {
		x.Notes = append(x.Notes, text)
	}
}
