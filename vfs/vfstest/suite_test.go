package vfstest

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"testing"

	"sheaf/vfs"
)

// TestModelSuite is Suite on Model, as it is and poorer.
func TestModelSuite(t *testing.T) {
	for name, c := range map[string]struct {
		model ModelOptions
		suite Options
	}{
		"whole":             {},
		"colliding cookies": {model: ModelOptions{CookieBits: 5, Seed: 7}},
		"clock that stands": {model: ModelOptions{Clock: func() vfs.Time { return vfs.Time{Sec: 1_500_000_000} }}},
		"poor":              {ModelOptions{NoACLs: true, NoSpecial: true, NoLinks: true}, Options{NoACLs: true, NoSpecial: true, NoLinks: true}},
		"one caller":        {ModelOptions{RootUID: 1000, RootGID: 1000}, Options{As: &vfs.Who{UID: 1000, GID: 1000}}},
	} {
		t.Run(name, func(t *testing.T) {
			Suite(t, c.suite, func(*testing.T) vfs.FS { return NewModel(c.model) })
		})
	}
}

// faultVariable names, in the environment of a child process, the fault that
// TestSuiteOnFault gives the Model.
const faultVariable = "VFSTEST_FAULT"

// TestSuiteOnFault is the child of TestSuiteFinds.
func TestSuiteOnFault(t *testing.T) {
	fault := os.Getenv(faultVariable)
	if fault == "" {
		t.Skip("only as a child of TestSuiteFinds")
	}
	Suite(t, Options{}, func(*testing.T) vfs.FS {
		f := *faults()[fault]
		f.Model = NewModel(ModelOptions{})
		return &f
	})
}

// TestSuiteFinds shows that Suite finds each fault: a test that fails, seen from
// outside.
func TestSuiteFinds(t *testing.T) {
	for fault := range faults() {
		t.Run(fault, func(t *testing.T) {
			child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestSuiteOnFault$", "-test.v")
			child.Env = append(os.Environ(), faultVariable+"="+fault)
			out, err := child.CombinedOutput()
			var exit *exec.ExitError
			if err == nil || !errors.As(err, &exit) {
				t.Fatalf("not found: %v", err)
			}
			if !bytes.Contains(out, []byte("--- FAIL: TestSuiteOnFault/")) || bytes.Contains(out, []byte("panic:")) {
				t.Errorf("no promise failed:\n%s", out)
			}
		})
	}
}
