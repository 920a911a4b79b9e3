package vfs

import "testing"

// TestStatusNames: every status has a name of its own, which ParseStatus reads.
func TestStatusNames(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range Statuses() {
		if n := s.Name(); n == "" || seen[n] {
			t.Errorf("the name of %v is %q", s, n)
		}
		seen[s.Name()] = true
		got, err := ParseStatus(s.Name())
		if s == Again {
			if err == nil {
				t.Error("a call can be made to end with Again")
			}
		} else if got != s || err != nil {
			t.Errorf("%q is %v, %v", s.Name(), got, err)
		}
	}
	for _, n := range []string{"", "ok", "NOENT", "nix"} {
		if s, err := ParseStatus(n); err == nil {
			t.Errorf("%q is %v", n, s)
		}
	}
}
