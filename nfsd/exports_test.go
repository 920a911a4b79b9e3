package nfsd

import (
	"context"
	"errors"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	"sheaf/vfs"
)

// hosts is a name service of a few names.
type hosts map[string][]string

func (h hosts) LookupNetIP(_ context.Context, network, host string) ([]netip.Addr, error) {
	if network != "ip" {
		return nil, errors.New("asked for " + network)
	}
	list, ok := h[host]
	if !ok {
		return nil, errors.New("no such host")
	}
	var addrs []netip.Addr
	for _, a := range list {
		addrs = append(addrs, netip.MustParseAddr(a))
	}
	return addrs, nil
}

var testHosts = hosts{
	"alpha":            {"192.0.2.1"},
	"beta.example.org": {"192.0.2.2", "2001:db8::2"},
	"nowhere":          {},
}

func parse(t *testing.T, text string) *Exports {
	t.Helper()
	x, err := ParseExports(t.Context(), text, testHosts)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func TestParseExports(t *testing.T) {
	const def = "ro,sync,secure,root_squash,no_all_squash,anonuid=65534,anongid=65534"
	for _, tt := range []struct {
		text string
		want []string // the exports, spelled out
	}{
		{"", nil},
		{" \t\n# a comment\n", nil},
		{"/ *", []string{"/ *(" + def + ")"}},
		{"/ *()", []string{"/ *(" + def + ")"}},
		{"/a/ alpha(rw)  # comment", []string{"/a alpha(rw" + def[2:] + ")"}},
		{"//a//b/ *(rw,)", []string{"/a/b *(rw" + def[2:] + ")"}},
		{`"/with blank" *`, []string{`/with\040blank *(` + def + ")"}},
		{`/with\040blank\134\042 *`, []string{`/with\040blank\134\042 *(` + def + ")"}},
		{"/a \\\n  alpha \\\n 10.0.0.0/8", []string{"/a alpha(" + def + ") 10.0.0.0/8(" + def + ")"}},
		{
			"/a *(rw,no_root_squash,all_squash,insecure,async,anonuid=1,anongid=-2)",
			[]string{"/a *(rw,async,insecure,no_root_squash,all_squash,anonuid=1,anongid=4294967294)"},
		},
		{
			"/a -rw,insecure alpha *(secure)",
			[]string{"/a alpha(rw,sync,insecure" + def[14:] + ") *(rw" + def[2:] + ")"},
		},
		{"/a alpha -rw *", []string{"/a alpha(" + def + ") *(rw" + def[2:] + ")"}},
		{"/a alpha\n/b *\n/a *", []string{"/a alpha(" + def + ") *(" + def + ")", "/b *(" + def + ")"}},
		{"/a 192.0.2.0/255.255.255.0\r\n", []string{"/a 192.0.2.0/255.255.255.0(" + def + ")"}},
		{"/a *(rw,no_subtree_check,sec=sys,ro)", []string{"/a *(" + def + ")"}},
	} {
		x := parse(t, tt.text)
		var got []string
		for i := range x.List {
			got = append(got, x.List[i].String())
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%q\ngot  %q\nwant %q", tt.text, got, tt.want)
		}
	}
}

func TestParseExportsRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"/a":                                   "no client",
		"a *":                                  "must begin with a slash",
		"/a/../b *":                            "cannot be the name",
		"/a/./b *":                             "cannot be the name",
		"/" + strings.Repeat("n", 256) + " *":  "cannot be the name",
		"/" + strings.Repeat("n/", 600) + " *": "1024",
		`"/a *`:                                "not closed",
		`/a\04 *`:                              "octal",
		`/a\999 *`:                             "octal",
		`/a\000 *`:                             "cannot be the name",
		"/a (rw)":                              "without a client",
		"/a * (rw)":                            "without a client",
		"/a *(rw":                              "parenthesis",
		"/a *(rw)x":                            "parenthesis",
		"/a *((rw))":                           "parenthesis",
		"/a *(wr)":                             "no_root_squash",
		"/a *(subtree_check)":                  "refused",
		"/a *(fsid=0)":                         "refused",
		"/a *(fsid)":                           "refused",
		"/a *(sec=krb5)":                       "sec=sys",
		"/a *(anonuid=)":                       "number",
		"/a *(anonuid=-1)":                     "number",
		"/a *(anongid=4294967295)":             "number",
		"/a *(anongid=x)":                      "number",
		"/a -wr *":                             "unknown",
		"/a @group(rw)":                        "netgroups",
		"/a gss/krb5(rw)":                      "GSS",
		"/a *.example.org(rw)":                 "wildcards",
		"/a h?(rw)":                            "wildcards",
		"/a no.such(rw)":                       "no such host",
		"/a nowhere(rw)":                       "no address",
		"/a ho!st(rw)":                         "no host name",
		"/a fe80::1%eth0(rw)":                  "zone",
		"/a 192.0.2.0/33":                      "32 bits",
		"/a 192.0.2.1/24":                      "192.0.2.0/24",
		"/a 192.0.2.0/255.0.255.0":             "gap",
		"/a 192.0.2.0/":                        "neither",
		"/a 192.0.2.0/x":                       "neither",
		"/a 2001:db8::/255.0.0.0":              "neither",
		"/a x/24":                              "no address",
		"/a alpha(rw) alpha(ro)":               "twice",
		"/a *\n/b\n/c *":                       "line 2",
		"/a \\\n alpha\n\n/c *(odd)":           "line 4",
	} {
		_, err := ParseExports(t.Context(), text, testHosts)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want something about %q", text, err, want)
		}
	}
	if _, err := ParseExports(t.Context(), "/a alpha", nil); err == nil {
		t.Error("a host name without a resolver")
	}
	_, err := ParseExports(t.Context(), "/a *(x)\n/b *(y)\n", nil)
	if err == nil || !strings.Contains(err.Error(), "line 1") || !strings.Contains(err.Error(), "line 2") {
		t.Errorf("not every mistake is reported: %v", err)
	}
}

func TestNotesExplainWhatHasNoEffect(t *testing.T) {
	x := parse(t, "/a *(no_subtree_check,rw) alpha(no_subtree_check,crossmnt)\n")
	if len(x.Notes) != 2 || !strings.Contains(x.Notes[0], "no_subtree_check") || !strings.Contains(x.Notes[1], "crossmnt") {
		t.Errorf("%q", x.Notes)
	}
}

func TestMatch(t *testing.T) {
	x := parse(t, "/a * 192.0.0.0/16 192.0.2.0/24 alpha beta.example.org 192.0.2.1/32 2001:db8::/32\n")
	y := parse(t, "/a 10.0.0.0/8\n")
	for addr, want := range map[string]string{
		"192.0.2.1":          "alpha",
		"::ffff:192.0.2.1":   "alpha",
		"192.0.2.2":          "beta.example.org",
		"2001:db8::2":        "beta.example.org",
		"2001:db8::3":        "2001:db8::/32",
		"192.0.2.3":          "192.0.2.0/24",
		"192.0.3.3":          "192.0.0.0/16",
		"198.51.100.1":       "*",
		"fe80::1%eth0":       "*",
		"2001:db8::9%eth0":   "2001:db8::/32",
		"::ffff:192.0.3.255": "192.0.0.0/16",
	} {
		if c := x.List[0].match(netip.MustParseAddr(addr)); c == nil || c.Spec != want {
			t.Errorf("%s: %+v, want %s", addr, c, want)
		}
	}
	if c := x.List[0].match(netip.Addr{}); c == nil || c.Spec != "*" {
		t.Errorf("no address: %+v", c)
	}
	if c := y.List[0].match(netip.MustParseAddr("11.0.0.1")); c != nil {
		t.Errorf("matched %+v", c)
	}
}

func TestAbove(t *testing.T) {
	for _, tt := range []struct {
		path, dir, rest string
		ok              bool
	}{
		{"/", "/", "/", true},
		{"/", "/a/b", "/a/b", true},
		{"/a", "/a", "", true},
		{"/a", "/a/b", "/b", true},
		{"/a", "/ab", "", false},
		{"/a/b", "/a", "", false},
	} {
		e := Export{Path: tt.path}
		if rest, ok := e.above(tt.dir); ok != tt.ok || ok && rest != tt.rest {
			t.Errorf("%s above %s: %q %v", tt.path, tt.dir, rest, ok)
		}
	}
}

// FuzzParseExports: what parses prints, and what is printed parses to the same.
func FuzzParseExports(f *testing.F) {
	for _, text := range []string{
		"/ *(rw)\n", "/a -rw alpha 10.0.0.0/8(ro) # c\n", `"/b c"\040 *`, "/a \\\n *", "/x 2001:db8::/32(anonuid=-2)",
		"/a 192.0.2.0/255.255.255.0(all_squash,sec=sys)", "/a * (rw)", `/\303\251 *`, "/#a *",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		x, err := ParseExports(t.Context(), text, testHosts)
		if err != nil {
			if x != nil {
				t.Error("an error and exports")
			}
			return
		}
		var b strings.Builder
		for i := range x.List {
			b.WriteString(x.List[i].String() + "\n")
		}
		again, err := ParseExports(t.Context(), b.String(), testHosts)
		if err != nil {
			t.Fatalf("%q prints as %q: %v", text, b.String(), err)
		}
		if !reflect.DeepEqual(again.List, x.List) {
			t.Errorf("%q prints as %q, which is\n%+v, was\n%+v", text, b.String(), again.List, x.List)
		}
		for _, e := range x.List {
			for c := range strings.SplitSeq(strings.TrimPrefix(e.Path, "/"), "/") {
				if _, err := vfs.ParseName(c); err != nil && e.Path != "/" {
					t.Errorf("path %q: %v", e.Path, err)
				}
			}
		}
	})
}
