//go:build linux || darwin || freebsd

//nolint:errorlint // the errnos of package unix come bare
package local

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"sheaf/vfs"
)

// Place is where a configured volume lies.
type Place struct {
	Name string // the operator's
	Path string
}

// site is a directory of the host, whatever path led to it.
type site struct{ dev, ino uint64 }

// pathDepth bounds the way up from a volume to the host's root.
const pathDepth = 4096

// CheckDistinct refuses volumes that are one directory, lie inside one another, or
// have one id (a disk that was cloned), before any of them is opened. It
// opens nothing for writing. A directory inside another by a bind mount alone is
// not seen.
func CheckDistinct(places []Place) error {
	bySite, byID := map[site]Place{}, map[string]Place{}
	up := make([][]site, len(places))
	for i, p := range places {
		var err error
		if up[i], err = ancestry(p); err != nil {
			return err
		}
		if other, dup := bySite[up[i][0]]; dup {
			return apart(p, fmt.Errorf("it is the same directory as that of volume %q (%q)", other.Name, other.Path), "name each directory once")
		}
		bySite[up[i][0]] = p
	}
	for i, p := range places {
		for _, s := range up[i][1:] {
			if outer, found := bySite[s]; found {
				return apart(p, fmt.Errorf("it lies inside volume %q (%q)", outer.Name, outer.Path), "a volume cannot hold another; leave one of the two out")
			}
		}
		m, err := Inspect(p.Name, p.Path)
		if err != nil {
			continue // to be adopted, or to be refused by Open, which says why
		}
		if other, dup := byID[m.Volume]; dup {
			return apart(p, fmt.Errorf("it has the id of volume %q (%q): one is a clone of the other", other.Name, other.Path),
				"leave one of the two out; to keep both, remove "+markerPath+" of one and start once with --adopt")
		}
		byID[m.Volume] = p
	}
	return nil
}

func apart(p Place, err error, do string) error {
	return &vfs.Error{Status: vfs.Inval, Op: "open volume", Object: p.Path, Volume: p.Name, Err: err, Do: do}
}

// ancestry is the volume's directory and all above it, as they are now.
func ancestry(p Place) ([]site, error) {
	v, err := openRoot(p.Name, p.Path)
	if err != nil {
		return nil, err
	}
	fd := v.root.fd
	defer func() { closeFd(fd) }()
	var all []site
	for range pathDepth {
		var st unix.Stat_t
		if err := again(func() error { return unix.Fstat(fd, &st) }); err != nil {
			return nil, v.fault("open volume", p.Path, err)
		}
		here := site{uint64(st.Dev), uint64(st.Ino)} //nolint:unconvert // another type on each host
		if k := len(all); k > 0 && all[k-1] == here {
			return all, nil
		}
		all = append(all, here)
		above, err := openPlain(fd, "..", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err == unix.EACCES { // may not be read, so a volume of ours cannot begin there
			return all, nil
		}
		if err != nil {
			return nil, v.fault("open volume", p.Path, err)
		}
		closeFd(fd)
		fd = above
	}
	return nil, apart(p, errors.New("it lies too deep"), "")
}
