package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"sheaf/tests/bench/peers"
)

// need is a program or file that a peer cannot do without, and Debian's package of it.
type need struct{ what, pack string }

// ganeshaNeeds are Ganesha, its back end for host directories (the folder between is the kind of the machine), and what it registers with.
var ganeshaNeeds = []need{
	{"ganesha.nfsd", "nfs-ganesha"},
	{"/usr/lib/*/ganesha/libfsalvfs.so", "nfs-ganesha-vfs"},
	{"rpcbind", "rpcbind"},
}

// needs are what each server of others is made of.
var needs = map[string][]need{
	"ganesha":    ganeshaNeeds,
	"mergerfs-8": append([]need{{"mergerfs", "mergerfs"}}, ganeshaNeeds...),
	"unfs3":      {{"unfsd", ""}}, // Debian 12 has no package of it
}

// have tells whether it is there.
func (n need) have() bool {
	if filepath.IsAbs(n.what) {
		found, err := filepath.Glob(n.what)
		return err == nil && len(found) > 0
	}
	_, err := exec.LookPath(n.what)
	return err == nil
}

// lacking is what a peer needs and is not there, and the packages that have it.
func lacking(peer string) (what, packs []string) {
	for _, n := range needs[peer] {
		if !n.have() {
			what = append(what, n.what)
			if n.pack != "" {
				packs = append(packs, n.pack)
			}
		}
	}
	return what, packs
}

// errAbsent is of a peer that is left out, by name, and is no failure.
var errAbsent = errors.New("cannot be had here")

// foreign starts a server of others over what lies in dir.
func (p *peer) foreign(dir string) (err error) {
	if what, _ := lacking(p.name); len(what) > 0 {
		return fmt.Errorf("%w: %s is not installed", errAbsent, strings.Join(what, ", "))
	}
	if p.name != "unfs3" && os.Geteuid() != 0 {
		return fmt.Errorf("%w: it opens files by handle, which only root may", errAbsent)
	}
	run, from := filepath.Join(dir, "run"), homes(p.name, dir)
	for _, h := range from {
		if err := os.MkdirAll(h, 0o755); err != nil {
			return err
		}
	}
	switch p.name {
	case "ganesha":
		p.others, err = peers.Ganesha(run, from[0])
	case "mergerfs-8":
		p.others, err = peers.MergerFS(run, from, 0)
	case "unfs3":
		p.others, err = peers.Unfs3(run, from[0])
	}
	if err != nil {
		return err
	}
	p.addr = net.JoinHostPort("127.0.0.1", strconv.Itoa(p.others.Port))
	p.mountAddr, p.export = net.JoinHostPort("127.0.0.1", strconv.Itoa(p.others.MountPort)), p.others.Export
	return nil
}

// homes are the directories in which a peer keeps what it serves.
func homes(name, dir string) (all []string) {
	n := 1
	switch {
	case name == "echo":
		return nil
	case name == "go-nfs":
		return []string{dir}
	case name == "mergerfs-8", strings.HasPrefix(name, "sheaf-8"):
		n = 8
	}
	for i := range n {
		all = append(all, filepath.Join(dir, fmt.Sprintf("v%d", i)))
	}
	return all
}
