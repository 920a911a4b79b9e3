package share

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// A place is a directory as the host knows it.
type place struct {
	what string // how a message calls it
	path string // with symbolic links resolved
	info fs.FileInfo
}

// checkDirs refuses directories that are the same, or one inside another, by what was seen of them:
// those that are missing lie where they would be made. The state directory is made later, too.
func checkDirs(all []*candidate, stateDir string) error {
	all = slices.DeleteFunc(slices.Clone(all), func(c *candidate) bool { return c.cfg.Dir == "" }) // members that are not configured
	var errs []error
	for i, c := range all {
		for _, o := range all[:i] {
			errs = append(errs, apart(o.place, c.place))
		}
	}
	state, err := findFuture("the state directory", stateDir)
	if err != nil {
		return errors.Join(append(errs, &ConfigError{Key: "state", Problem: fmt.Sprintf("the state directory: %v", err)})...)
	}
	for _, c := range all {
		errs = append(errs, apartFromState(c.place, state))
	}
	return errors.Join(errs...)
}

// find looks at a directory that should be there. With an error the place is where it
// would be, if that can be told.
func find(what, dir string) (place, error) {
	p, err := findFuture(what, dir)
	switch {
	case err != nil:
		return place{what: what, path: filepath.Clean(dir)}, err
	case p.info == nil:
		return p, fmt.Errorf("%q does not exist; make the directory, or mount the disk that holds it", dir)
	}
	return p, nil
}

// findFuture looks at a directory that may have to be made: where it will lie.
func findFuture(what, dir string) (place, error) {
	p := place{what: what}
	rest := ""
	for at := dir; ; at, rest = filepath.Dir(at), filepath.Join(filepath.Base(at), rest) {
		known, err := filepath.EvalSymlinks(at)
		if errors.Is(err, fs.ErrNotExist) && at != filepath.Dir(at) {
			continue
		}
		if err == nil {
			p.info, err = os.Stat(known)
		}
		if err != nil {
			return p, err
		}
		if !p.info.IsDir() {
			return p, fmt.Errorf("%q is not a directory", at)
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
