package peers

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Ganesha starts NFS-Ganesha over the folder dir; what it writes of its own goes to run, which is made. Root is needed:
// its VFS back end opens files by handle (open_by_handle_at(2), CAP_DAC_READ_SEARCH).
func Ganesha(run, dir string) (*Server, error) {
	s := &Server{Export: dir}
	if err := s.ganesha(run); err != nil {
		return nil, errors.Join(fmt.Errorf("nfs-ganesha over %s: %w", dir, err), s.Stop())
	}
	return s, nil
}

// MergerFS mounts branches as one in run, and starts a Ganesha over that. So long the kernel remembers a name that mergerfs did
// not have (cache.negative_entry, in whole seconds); 0, its default, is never.
func MergerFS(run string, branches []string, negative time.Duration) (*Server, error) {
	s := &Server{Export: filepath.Join(run, "merged")}
	err := s.merge(branches, negative)
	if err == nil {
		err = s.ganesha(run)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("mergerfs at %s: %w", s.Export, err), s.Stop())
	}
	return s, nil
}

func (s *Server) merge(branches []string, negative time.Duration) error {
	if err := os.MkdirAll(s.Export, 0o755); err != nil {
		return err
	}
	program, err := exec.LookPath("mergerfs")
	if err != nil {
		return err
	}
	before, err := device(s.Export)
	if err != nil {
		return err
	}
	cmd := exec.Command(program, "-f", "-o", "allow_other,fsname=sheaf-bench,category.create=rand,noforget,inodecalc=path-hash,"+
		fmt.Sprintf("nfsopenhack=all,cache.negative_entry=%d", int(negative.Seconds())), strings.Join(branches, ":"), s.Export)
	p, err := run(cmd, func(string) bool {
		now, err := device(s.Export)
		return err == nil && now != before
	})
	if err != nil {
		return err
	}
	s.procs = append(s.procs, p)
	s.stops = append(s.stops, p.stop, func() error { // and the process ends by itself
		if err := unix.Unmount(s.Export, unix.MNT_DETACH); err != nil {
			return fmt.Errorf("umount %s: %w", s.Export, err)
		}
		return nil
	})
	return nil
}

func device(dir string) (uint64, error) {
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return 0, fmt.Errorf("stat %s: %w", dir, err)
	}
	return st.Dev, nil
}

// config is Ganesha's, with ports and path.
const config = `NFS_CORE_PARAM {
	Bind_addr = 127.0.0.1; NFS_Port = %d; MNT_Port = %d;
	Protocols = 3; Enable_NLM = false; Enable_RQUOTA = false; Enable_UDP = false;
}
EXPORT {
	Export_Id = 1; Path = %s; Pseudo = /export;
	Protocols = 3; Transports = TCP; Access_Type = RW; Squash = No_Root_Squash; SecType = sys;
	FSAL { Name = VFS; }
}
`

// initialized is what Ganesha logs when it serves.
const initialized = "NFS SERVER INITIALIZED"

func (s *Server) ganesha(dir string) error {
	program, err := exec.LookPath("ganesha.nfsd")
	if err != nil {
		return err
	}
	if err := s.drawPorts(); err != nil {
		return err
	}
	conf, log := filepath.Join(dir, "ganesha.conf"), filepath.Join(dir, "ganesha.log")
	err = errors.Join(os.MkdirAll(dir, 0o755),
		os.WriteFile(conf, fmt.Appendf(nil, config, s.Port, s.MountPort, s.Export), 0o644),
		os.WriteFile(log, nil, 0o644)) // an old one would say that it is ready
	if err != nil {
		return err
	}
	unregister, err := rpcbind()
	if err != nil {
		return err
	}
	p, err := run(exec.Command(program, "-F", "-f", conf, "-L", log, "-p", filepath.Join(dir, "pid")), func(string) bool {
		said, err := os.ReadFile(log)
		return err == nil && bytes.Contains(said, []byte(initialized))
	})
	if err = errors.Join(err, unregister()); err != nil {
		said, _ := os.ReadFile(log)
		if p != nil {
			err = errors.Join(err, p.stop())
		}
		return fmt.Errorf("%w\n%s", err, said[max(0, len(said)-tailBytes):])
	}
	s.procs = append(s.procs, p)
	s.stops = append(s.stops, p.stop)
	return nil
}

// Where rpcbind is asked, and the lock that keeps two benchmarks from starting it, and taking it away, between each other.
const (
	rpcbindSocket = "/run/rpcbind.sock"
	rpcbindLock   = "/run/sheaf-bench.lock"
)

// rpcbind sees to it that one runs until done is called.
func rpcbind() (done func() error, err error) {
	lock, err := os.OpenFile(rpcbindLock, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	for err = unix.EINTR; errors.Is(err, unix.EINTR); {
		err = unix.Flock(int(lock.Fd()), unix.LOCK_EX)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", rpcbindLock, err), lock.Close())
	}
	if registers("") {
		return lock.Close, nil
	}
	program, err := exec.LookPath("rpcbind")
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	cmd := exec.Command(program, "-f")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET}
	p, err := run(cmd, registers)
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return func() error { return errors.Join(p.stop(), lock.Close()) }, nil
}

// registers tells whether an rpcbind takes registrations.
func registers(string) bool {
	conn, err := net.Dial("unix", rpcbindSocket)
	if err != nil {
		return false
	}
	conn.Close()
	return true
}

// Unfs3 starts unfs3 over the folder dir; what it writes of its own goes to run, which is made. It is told to use no portmapper.
func Unfs3(run, dir string) (*Server, error) {
	s := &Server{Export: dir}
	if err := s.unfs3(run); err != nil {
		return nil, errors.Join(fmt.Errorf("unfs3 over %s: %w", dir, err), s.Stop())
	}
	return s, nil
}

func (s *Server) unfs3(dir string) error {
	program, err := exec.LookPath("unfsd")
	if err != nil {
		return err
	}
	if err := s.drawPorts(); err != nil {
		return err
	}
	exports := filepath.Join(dir, "exports")
	err = errors.Join(os.MkdirAll(dir, 0o755),
		os.WriteFile(exports, fmt.Appendf(nil, "%s 127.0.0.1(rw,no_root_squash)\n", s.Export), 0o644))
	if err != nil {
		return err
	}
	p, err := run(exec.Command(program, "-d", "-p", "-t", "-l", "127.0.0.1", "-e", exports, "-i", filepath.Join(dir, "pid"),
		"-n", strconv.Itoa(s.Port), "-m", strconv.Itoa(s.MountPort)), func(string) bool { return listens(s.Port) && listens(s.MountPort) })
	if err != nil {
		return err
	}
	s.procs = append(s.procs, p)
	s.stops = append(s.stops, p.stop)
	return nil
}

// drawPorts gives the server two.
func (s *Server) drawPorts() (err error) {
	if s.Port, err = freePort(); err != nil {
		return err
	}
	for s.MountPort = s.Port; s.MountPort == s.Port; {
		if s.MountPort, err = freePort(); err != nil {
			return err
		}
	}
	return nil
}

// listens tells whether a port of 127.0.0.1 can be connected to.
func listens(port int) bool {
	conn, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return false
	}
	conn.Close()
	return true
}
