package billyfs

import (
	"errors"
	"io/fs"
	"os"

	"github.com/go-git/go-billy/v5"

	"sheaf/vfs"
)

// errorOf are the causes that os.IsNotExist and its like, and billy, know.
var errorOf = map[vfs.Status]error{ //nolint:exhaustive // the others go through as they are
	vfs.NoEnt:   fs.ErrNotExist,
	vfs.Exist:   fs.ErrExist,
	vfs.Acces:   fs.ErrPermission,
	vfs.Perm:    fs.ErrPermission,
	vfs.ROFS:    billy.ErrReadOnly,
	vfs.NotSupp: billy.ErrNotSupported,
}

// cause is err as the world of paths knows it.
func cause(err error) error {
	if known, ok := errorOf[vfs.StatusOf(err)]; ok {
		return known
	}
	return err
}

// fail is err about a path; nil stays nil. Crossing the root's boundary is told as
// billy tells it, without a path.
func fail(op, path string, err error) error {
	if err == nil || errors.Is(err, billy.ErrCrossedBoundary) {
		return err
	}
	return &os.PathError{Op: op, Path: path, Err: cause(err)}
}

// failLink is fail about two paths.
func failLink(op, from, to string, err error) error {
	if err == nil || errors.Is(err, billy.ErrCrossedBoundary) {
		return err
	}
	return &os.LinkError{Op: op, Old: from, New: to, Err: cause(err)}
}

// StatusOf is the status of an error of this package.
func StatusOf(err error) vfs.Status {
	switch {
	case err == nil:
		return vfs.OK
	case errors.Is(err, fs.ErrNotExist):
		return vfs.NoEnt
	case errors.Is(err, fs.ErrExist):
		return vfs.Exist
	case errors.Is(err, fs.ErrPermission), errors.Is(err, billy.ErrCrossedBoundary):
		return vfs.Acces
	case errors.Is(err, billy.ErrReadOnly):
		return vfs.ROFS
	case errors.Is(err, billy.ErrNotSupported):
		return vfs.NotSupp
	case errors.Is(err, fs.ErrClosed):
		return vfs.Inval
	}
	return vfs.StatusOf(err)
}
