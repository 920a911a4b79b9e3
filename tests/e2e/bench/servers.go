//go:build linux

package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"sheaf/tests/bench/peers"
	"sheaf/tests/e2e/guest"
)

// The servers, in the order of the report; the first is what all are compared with.
const (
	ganesha     = "ganesha"
	mergerfs    = "mergerfs"
	mergerfsNeg = "mergerfs-neg"
	sheafSync   = "sheaf-sync"
	sheafAsync  = "sheaf-async"
)

var serverNames = []string{ganesha, mergerfs, mergerfsNeg, sheafSync, sheafAsync}

const (
	branches = 8
	// negativeFor is how long mergerfs' mount remembers that a name was absent.
	negativeFor = time.Minute
	exported    = "rw,no_root_squash,insecure"
)

// server is one that runs.
type server struct {
	*peers.Server
	name string
}

// mountOptions are the same for all but for the ports.
const mountOptions = "vers=3,proto=tcp,nolock,hard,port=%d,mountport=%d,mountproto=tcp"

// point is where it is mounted in the guest.
func (s *server) point() string { return "/mnt/" + s.name }

// mount is the script that mounts it anew: the client then knows nothing.
func (s *server) mount() string {
	return fmt.Sprintf("mkdir -p %[1]s; ! mountpoint -q %[1]s || umount %[1]s; mount -t nfs -o "+mountOptions+" %[4]s:%[5]s %[1]s\n",
		s.point(), s.Port, s.MountPort, guest.HostAddr, s.Export)
}

// start runs the servers that are asked for; those that cannot be had are told to the report. The folders have
// the includes before their server starts.
func (o *options) start(dir string, r *report, progress io.Writer) ([]*server, error) {
	var started []*server
	for name := range strings.SplitSeq(o.servers, ",") {
		if !slices.Contains(serverNames, name) {
			return started, fmt.Errorf("no server %q; there are %s", name, strings.Join(serverNames, ", "))
		}
		own := filepath.Join(dir, name)
		folders := []string{filepath.Join(own, "data")}
		if name != ganesha {
			folders = nil
			for i := range branches {
				folders = append(folders, filepath.Join(own, fmt.Sprintf("v%d", i)))
			}
		}
		if err := writeIncludes(folders); err != nil {
			return started, err
		}
		s, err := o.launch(name, filepath.Join(own, "run"), folders)
		if err != nil { // the others are still worth measuring
			r.missing = append(r.missing, err)
			fmt.Fprintln(progress, err)
			continue
		}
		started = append(started, &server{Server: s, name: name})
	}
	if len(started) == 0 {
		return nil, errors.New("there is no server to measure")
	}
	return started, nil
}

func (o *options) launch(name, run string, folders []string) (*peers.Server, error) {
	if err := os.MkdirAll(run, 0o755); err != nil {
		return nil, err
	}
	switch name {
	case ganesha:
		return peers.Ganesha(run, folders[0])
	case mergerfs:
		return peers.MergerFS(run, folders, 0)
	case mergerfsNeg:
		return peers.MergerFS(run, folders, negativeFor)
	case sheafAsync:
		return peers.Sheaf(o.sheaf, run, folders, exported+",async")
	default:
		return peers.Sheaf(o.sheaf, run, folders, exported)
	}
}
