//go:build linux

package disk

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Disk is mounted, and can be made to hang.
type Disk struct {
	// Dir is a directory on the disk, empty at first.
	Dir string

	top, below, mount string
	jam               *os.File // opened while it is well: something to write to

	mu     sync.Mutex
	frozen bool
	jammed chan error
	thaw   io.Closer // ends who thaws when this process is gone
}

// Sizes in bytes: the least that mkfs.xfs takes, and what is on it.
const (
	belowSize = 320 << 20
	diskSize  = 160 << 20
)

// New makes a disk whose images and mount points lie in top, which it makes. Close ends it.
func New(top string) (*Disk, error) {
	d := &Disk{top: top, below: filepath.Join(top, "below"), mount: filepath.Join(top, "disk")}
	d.Dir = filepath.Join(d.mount, "volume")
	steps := []func() error{
		func() error { return errors.Join(os.MkdirAll(d.below, 0o700), os.MkdirAll(d.mount, 0o755)) },
		func() error { return image(top+"/below.img", belowSize, "mkfs.xfs", "-q") },
		func() error { return run("mount", "-o", "loop", top+"/below.img", d.below) },
		func() error {
			return image(d.below+"/disk.img", diskSize, "mkfs.ext4", "-q", "-E", "lazy_itable_init=0")
		},
		func() error { return run("mount", "-o", "loop", d.below+"/disk.img", d.mount) },
		func() error { return os.Mkdir(d.Dir, 0o755) },
		func() (err error) {
			d.jam, err = os.OpenFile(filepath.Join(d.mount, "jam"), os.O_CREATE|os.O_RDWR|unix.O_DSYNC, 0o600)
			return err
		},
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return nil, errors.Join(fmt.Errorf("a disk that can hang: %w", err), d.Close())
		}
	}
	return d, nil
}

// Hang makes the disk hang until Release, or until this process ends. It returns when what is read from it hangs, too.
func (d *Disk) Hang() error {
	if err := d.forget(); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.guard(); err != nil {
		return err
	}
	if err := run("fsfreeze", "-f", d.below); err != nil {
		return errors.Join(err, d.thaw.Close())
	}
	d.frozen, d.jammed = true, make(chan error, 1)
	go func() {
		_, err := d.jam.WriteAt([]byte("everything waits behind this"), 0)
		d.jammed <- err
	}()
	select { // the loop device does one thing after the other
	case err := <-d.jammed:
		return fmt.Errorf("the disk does not hang: %w", errors.Join(err, d.release()))
	case <-time.After(100 * time.Millisecond):
		return nil
	}
}

// guard has the disk thawed when this process is gone: nobody else would.
func (d *Disk) guard() error {
	cmd := exec.Command("sh", "-c", `read _; exec fsfreeze -u "$1" 2>/dev/null`, "sh", d.below)
	cmd.SysProcAttr = &unix.SysProcAttr{Setsid: true}
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	d.thaw = closer(func() error {
		err := in.Close()
		_ = cmd.Wait() // it finds the disk thawed
		return err
	})
	return nil
}

type closer func() error

func (c closer) Close() error { return c() }

// Release ends Hang, and returns when what waited goes on. It may be called of a disk that does not hang.
func (d *Disk) Release() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.release()
}

func (d *Disk) release() error {
	if !d.frozen {
		return nil
	}
	d.frozen = false
	err := run("fsfreeze", "-u", d.below)
	return errors.Join(err, d.thaw.Close(), <-d.jammed)
}

// forget makes the host forget the data of what is on the disk, so that it is read anew.
func (d *Disk) forget() error {
	if err := run("sync", "-f", d.mount); err != nil {
		return err
	}
	drop := func(path string) error {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		return unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
	}
	err := filepath.WalkDir(d.Dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			err = drop(path)
		}
		if errors.Is(err, fs.ErrNotExist) { // it is at work
			return nil
		}
		return err
	})
	return errors.Join(err, drop(d.below+"/disk.img"))
}

// Close unmounts the disk and removes it.
func (d *Disk) Close() error {
	err := d.Release()
	if d.jam != nil {
		err = errors.Join(err, d.jam.Close())
	}
	for _, at := range []string{d.mount, d.below} {
		if mounted(at) {
			err = errors.Join(err, run("umount", at))
		}
	}
	if err != nil {
		return err
	}
	return os.RemoveAll(d.top)
}

func mounted(at string) bool {
	b, err := os.ReadFile("/proc/self/mounts")
	return err == nil && strings.Contains(string(b), " "+at+" ")
}

func image(path string, size int64, mkfs ...string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Truncate(size), f.Close()); err != nil {
		return err
	}
	return run(append(mkfs, path)...)
}

func run(args ...string) error {
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}
