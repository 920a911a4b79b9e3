package peers

import (
	"errors"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// Sheaf starts the command binary over folders, with its state in run and one export of all, with these options of
// exports(5): "rw,no_root_squash,insecure,async".
func Sheaf(binary, dir string, volumes []string, options string) (*Server, error) {
	s := &Server{Export: "/"}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	s.Port, s.MountPort = port, port
	args := []string{
		"serve", "--adopt", "--state", filepath.Join(dir, "state"), "--listen", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)),
		"--export", "/ *(" + options + ")",
	}
	for i, v := range volumes {
		args = append(args, "--volume", fmt.Sprintf("v%d=%s", i, v))
	}
	p, err := run(exec.Command(binary, args...), func(said string) bool { return strings.Contains(said, "ready") })
	if err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	s.procs, s.stops = append(s.procs, p), append(s.stops, p.stop)
	return s, nil
}
