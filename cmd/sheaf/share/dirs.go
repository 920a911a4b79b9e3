package share

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// A place is a directory as the host knows it.
type place struct {
	key  string // the setting it is from
	what string // how a message calls it
	path string // with symbolic links resolved
	info fs.FileInfo
}

// checkDirs refuses directories that are missing, the same, or one inside another.
// It only looks. The state directory may be missing: it is made later.
func checkDirs(c *Config) error {
	var places []place
	var errs []error
	for _, v := range c.Volumes {
		p, err := find("volumes", fmt.Sprintf("volume %q", v.Name), v.Dir)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		for _, o := range places {
			errs = append(errs, apart(o, p))
		}
		places = append(places, p)
	}
	state, err := findFuture("state", "the state directory", c.State)
	if err != nil {
		return errors.Join(append(errs, err)...)
	}
	for _, v := range places {
		errs = append(errs, apartFromState(v, state))
	}
	return errors.Join(errs...)
}

// find looks at a directory that must be there.
func find(key, what, dir string) (place, error) {
	p := place{key: key, what: what}
	bad := func(err error, do string) (place, error) {
		return p, &ConfigError{Key: key, Problem: fmt.Sprintf("%s: %v", what, err), Do: do}
	}
	var err error
	if p.path, err = filepath.EvalSymlinks(dir); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return bad(fmt.Errorf("%q does not exist", dir), "make the directory, or mount the disk that holds it")
		}
		return bad(err, "")
	}
	if p.info, err = os.Stat(p.path); err != nil {
		return bad(err, "")
	}
	if !p.info.IsDir() {
		return bad(fmt.Errorf("%q is not a directory", dir), "a volume is a directory")
	}
	return p, nil
}

// findFuture looks at a directory that may have to be made: where it will lie.
func findFuture(key, what, dir string) (place, error) {
	p := place{key: key, what: what}
	rest := ""
	for at := dir; ; at, rest = filepath.Dir(at), filepath.Join(filepath.Base(at), rest) {
		known, err := filepath.EvalSymlinks(at)
		if errors.Is(err, fs.ErrNotExist) && at != filepath.Dir(at) {
			continue
		}
		if err == nil {
			p.info, err = os.Stat(known)
		}
		if err == nil && !p.info.IsDir() {
			err = fmt.Errorf("%q is not a directory", at)
		}
		if err != nil {
			return p, &ConfigError{Key: key, Problem: fmt.Sprintf("%s: %v", what, err)}
		}
		p.path = filepath.Join(known, rest)
		if rest != "" {
			p.info = nil
		}
		return p, nil
	}
}

// within reports whether b is a or lies in it, by path or by being one directory.
func within(a, b place) bool {
	if a.info != nil && b.info != nil && os.SameFile(a.info, b.info) {
		return true
	}
	return a.path == b.path || strings.HasPrefix(b.path, strings.TrimSuffix(a.path, "/")+"/")
}

// apart is the error for two volumes that are not apart.
func apart(a, b place) error {
	switch {
	case within(a, b) && within(b, a):
		return &ConfigError{Key: "volumes", Problem: fmt.Sprintf("%s and %s are the same directory, %q", a.what, b.what, b.path), Do: "leave one out"}
	case within(a, b):
		return inside(b, a)
	case within(b, a):
		return inside(a, b)
	}
	return nil
}

func inside(inner, outer place) error {
	return &ConfigError{
		Key: "volumes", Problem: fmt.Sprintf("%s, %q, lies inside %s, %q", inner.what, inner.path, outer.what, outer.path),
		Do: "every file would be there twice; leave one out",
	}
}

func apartFromState(v, state place) error {
	switch {
	case within(v, state):
		return &ConfigError{
			Key: "state", Problem: fmt.Sprintf("the state directory, %q, lies in %s, %q", state.path, v.what, v.path),
			Do: "put it elsewhere, best on another file system: the index would show up in the share, and a full volume would stop it",
		}
	case within(state, v):
		return &ConfigError{
			Key: "state", Problem: fmt.Sprintf("%s, %q, lies in the state directory, %q", v.what, v.path, state.path),
			Do: "put the state elsewhere: it may be deleted at any time, and the volume with it",
		}
	}
	return nil
}
