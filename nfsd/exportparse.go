package nfsd

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/bits"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"sheaf/vfs"
)

// exportLine is a line of an exports text, continuations joined.
type exportLine struct {
	number int // of its first line, from 1
	text   string
}

// splitLines joins continued lines.
func splitLines(text string) []exportLine {
	var out []exportLine
	open := false
	for i, l := range strings.Split(text, "\n") {
		l = strings.TrimSuffix(l, "\r")
		body, more := strings.CutSuffix(l, `\`)
		if open {
			out[len(out)-1].text += " " + body
		} else {
			out = append(out, exportLine{i + 1, body})
		}
		open = more
	}
	return out
}

// exportParser reads lines into out.
type exportParser struct {
	ctx      context.Context
	resolver Resolver
	out      *Exports
}

func (p *exportParser) line(l string) error {
	words, err := splitWords(l)
	if err != nil || len(words) == 0 {
		return err
	}
	path, err := parsePath(words[0])
	if err != nil {
		return err
	}
	defaults, clients := defaultOptions(), 0
	for _, w := range words[1:] {
		if list, ok := strings.CutPrefix(w, "-"); ok {
			defaults = defaultOptions()
			if err := p.options(&defaults, list); err != nil {
				return err
			}
			continue
		}
		if err := p.client(path, w, defaults); err != nil {
			return err
		}
		clients++
	}
	if clients == 0 {
		return fmt.Errorf("%s has no client: write *(OPTIONS) if everybody is meant", words[0])
	}
	return nil
}

// splitWords splits a line at blanks, takes quotes and octal escapes away and
// stops at a comment.
func splitWords(l string) ([]string, error) {
	var out []string
	for i := 0; i < len(l); {
		switch {
		case isBlank(l[i]):
			i++
		case l[i] == '#':
			return out, nil
		default:
			w, n, err := readWord(l[i:])
			if err != nil {
				return nil, err
			}
			out, i = append(out, w), i+n
		}
	}
	return out, nil
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' }

// readWord reads the word that l begins with, and how many bytes it took.
func readWord(l string) (w string, n int, err error) {
	var b strings.Builder
	quoted := false
	for n = 0; n < len(l); n++ {
		switch c := l[n]; {
		case c == '"':
			quoted = !quoted
		case c == '\\':
			v, err := octal(l[n+1:])
			if err != nil {
				return "", 0, err
			}
			b.WriteByte(v)
			n += 3
		case isBlank(c) && !quoted:
			return b.String(), n, nil
		default:
			b.WriteByte(c)
		}
	}
	if quoted {
		return "", 0, fmt.Errorf("a double quote is not closed: %s", l)
	}
	return b.String(), n, nil
}

// octal reads the three digits after a backslash.
func octal(s string) (byte, error) {
	if len(s) >= 3 {
		if v, err := strconv.ParseUint(s[:3], 8, 8); err == nil {
			return byte(v), nil
		}
	}
	return 0, errors.New(`a backslash must begin an octal escape of three digits, such as \040 for a blank`)
}

// parsePath checks the path of an export.
func parsePath(path string) (string, error) {
	if !strings.HasPrefix(path, "/") {
		return "", fmt.Errorf("path %q must begin with a slash: it is a path within the share", path)
	}
	var clean strings.Builder
	for c := range strings.SplitSeq(path, "/") {
		if c == "" {
			continue
		}
		if _, err := vfs.ParseName(c); err != nil {
			return "", fmt.Errorf("path %q: %q cannot be the name of a directory: %w", path, c, err)
		}
		clean.WriteString("/" + c)
	}
	if len(path) > mntPathLen {
		return "", fmt.Errorf("path of %d bytes: MOUNT carries at most %d", len(path), mntPathLen)
	}
	if clean.Len() == 0 {
		return "/", nil
	}
	return clean.String(), nil
}

// client reads CLIENT or CLIENT(OPTIONS).
func (p *exportParser) client(path, w string, defaults ClientOptions) error {
	spec, list, has := strings.Cut(w, "(")
	c := Client{Spec: spec, Options: defaults}
	if spec == "" {
		return fmt.Errorf("options %q without a client: there must be no blank before the parenthesis; write *%s if everybody is meant", w, w)
	}
	if has {
		list, closed := strings.CutSuffix(list, ")")
		if !closed || strings.ContainsAny(list, "()") {
			return fmt.Errorf("client %q: the list of options must end with a parenthesis and a blank", w)
		}
		if err := p.options(&c.Options, list); err != nil {
			return fmt.Errorf("client %q: %w", spec, err)
		}
	}
	if err := p.spec(&c); err != nil {
		return err
	}
	return p.out.add(path, c)
}

// spec finds out which addresses c.Spec means.
func (p *exportParser) spec(c *Client) error {
	switch {
	case c.Spec == "*":
		return nil
	case strings.HasPrefix(c.Spec, "@"):
		return fmt.Errorf("client %q: netgroups are not supported; name hosts or networks", c.Spec)
	case strings.HasPrefix(c.Spec, "gss/"):
		return fmt.Errorf("client %q: RPCSEC_GSS is not supported", c.Spec)
	case strings.ContainsAny(c.Spec, "*?["):
		// The name of a client is what its address's owner says in the reverse
		// zone; a rule on it would have to ask the name service in the data path.
		return fmt.Errorf("client %q: wildcards in host names are not supported; name hosts or a network", c.Spec)
	case strings.Contains(c.Spec, "/"):
		n, err := parseNet(c.Spec)
		c.Nets = []netip.Prefix{n}
		return err
	}
	c.Host = true
	if a, err := netip.ParseAddr(c.Spec); err == nil {
		if a.Zone() != "" {
			return fmt.Errorf("client %q: an address with a zone is not supported", c.Spec)
		}
		c.Nets = hostNets([]netip.Addr{a})
		return nil
	}
	return p.resolve(c)
}

// resolve asks for the addresses of a host name.
func (p *exportParser) resolve(c *Client) error {
	if !isHostName(c.Spec) {
		return fmt.Errorf("client %q is no host name, address, network or *", c.Spec)
	}
	if p.resolver == nil {
		return fmt.Errorf("client %q: host names cannot be resolved here; write its address", c.Spec)
	}
	addrs, err := p.resolver.LookupNetIP(p.ctx, "ip", c.Spec)
	if err != nil {
		return fmt.Errorf("client %q: %w", c.Spec, err)
	}
	if len(addrs) == 0 {
		return fmt.Errorf("client %q has no address", c.Spec)
	}
	c.Nets = hostNets(addrs)
	return nil
}

func hostNets(addrs []netip.Addr) []netip.Prefix {
	var nets []netip.Prefix
	for _, a := range addrs {
		a = a.Unmap().WithZone("")
		nets = append(nets, netip.PrefixFrom(a, a.BitLen()))
	}
	return nets
}

// isHostName reports whether s can be a host name: letters, digits, "-", "_"
// and dots, at most 253 of them (RFC 1123 section 2.1).
func isHostName(s string) bool {
	const longest = 253
	if s == "" || len(s) > longest {
		return false
	}
	return strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") == ""
}

// parseNet reads ADDRESS/BITS or ADDRESS/NETMASK.
func parseNet(s string) (netip.Prefix, error) {
	as, ms, _ := strings.Cut(s, "/")
	a, err := netip.ParseAddr(as)
	if err != nil || a.Zone() != "" {
		return netip.Prefix{}, fmt.Errorf("client %q: %q is no address", s, as)
	}
	a = a.Unmap()
	n, err := maskBits(ms, a)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("client %q: %w", s, err)
	}
	p := netip.PrefixFrom(a, n).Masked()
	if p.Addr() != a {
		return netip.Prefix{}, fmt.Errorf("client %q has bits beyond its mask: write %s", s, p)
	}
	return p, nil
}

// maskBits reads a number of bits or, for IPv4, a netmask.
func maskBits(s string, a netip.Addr) (int, error) {
	if n, err := strconv.ParseUint(s, 10, 8); err == nil {
		if int(n) > a.BitLen() {
			return 0, fmt.Errorf("a network has at most %d bits, not %s", a.BitLen(), s)
		}
		return int(n), nil
	}
	m, err := netip.ParseAddr(s)
	if err != nil || !m.Is4() || !a.Is4() {
		return 0, fmt.Errorf("%q is neither a number of bits nor a netmask", s)
	}
	b := m.As4()
	v := uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
	n := bits.LeadingZeros32(^v)
	if v<<n != 0 {
		return 0, fmt.Errorf("netmask %s has a gap", s)
	}
	return n, nil
}

// options applies a list of options to o.
func (p *exportParser) options(o *ClientOptions, list string) error {
	for opt := range strings.SplitSeq(list, ",") {
		if opt == "" {
			continue // exports(5) has "()" and people write a last comma
		}
		if err := p.option(o, opt); err != nil {
			return err
		}
	}
	return nil
}

// optionNames are the options that do something, for error messages.
const optionNames = "rw ro root_squash no_root_squash all_squash no_all_squash anonuid= anongid= " +
	"secure insecure sync async"

// switches are the options without a value.
var switches = map[string]func(*ClientOptions){
	"rw":             func(o *ClientOptions) { o.ReadOnly = false },
	"ro":             func(o *ClientOptions) { o.ReadOnly = true },
	"root_squash":    func(o *ClientOptions) { o.RootSquash = true },
	"no_root_squash": func(o *ClientOptions) { o.RootSquash = false },
	"all_squash":     func(o *ClientOptions) { o.AllSquash = true },
	"no_all_squash":  func(o *ClientOptions) { o.AllSquash = false },
	"secure":         func(o *ClientOptions) { o.Secure = true },
	"insecure":       func(o *ClientOptions) { o.Secure = false },
	"sync":           func(o *ClientOptions) { o.Async = false },
	"async":          func(o *ClientOptions) { o.Async = true },
}

// harmless are options that change nothing here, and why.
var harmless = map[string]string{
	"no_subtree_check": "handles are not tied to a path, so there is no subtree check",
	"wdelay":           "writes are gathered by the client and by COMMIT",
	"no_wdelay":        "writes are gathered by the client and by COMMIT",
	"hide":             "the share is one file system, with nothing mounted inside it",
	"nohide":           "the share is one file system, with nothing mounted inside it",
	"crossmnt":         "the share is one file system, with nothing mounted inside it",
	"sec=sys":          "AUTH_SYS is what there is",
}

// refused are options that would be a promise not kept, and what to do instead.
var refused = map[string]string{
	"subtree_check": "access by handle is not tied to the exported path; leave it out and export a share of its own",
	"fsid":          "the fsid is one for the whole share and comes from its id; leave it out",
	"sec":           "only sec=sys is supported",
}

func (p *exportParser) option(o *ClientOptions, opt string) error {
	if set, ok := switches[opt]; ok {
		set(o)
		return nil
	}
	if why, ok := harmless[opt]; ok {
		p.out.note(opt + ": " + why)
		return nil
	}
	key, value, _ := strings.Cut(opt, "=")
	switch key {
	case "anonuid":
		return parseID(&o.AnonUID, opt, value)
	case "anongid":
		return parseID(&o.AnonGID, opt, value)
	}
	if why, ok := refused[key]; ok {
		return fmt.Errorf("option %s is refused: %s", opt, why)
	}
	return fmt.Errorf("option %q is unknown; known are: %s; accepted without effect: %s",
		opt, optionNames, strings.Join(slices.Sorted(maps.Keys(harmless)), " "))
}

// parseID reads a uid or gid; exports(5) writes -2 for 65534 in its 16-bit form
// and people do (-1 and -2 in 32 bits), so negative numbers are counted from 2^32,
// as mountd does, except -1, which is no id.
func parseID(to *uint32, opt, value string) error {
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil || n < -(1<<31) || n >= noID || n == -1 {
		return fmt.Errorf("option %q needs a number from 0 to %d", opt, uint32(noID)-1)
	}
	*to = uint32(n)
	return nil
}
