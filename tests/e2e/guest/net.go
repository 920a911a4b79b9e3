//go:build linux

package guest

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	// A range of its own, so that other tools' guests on the same host keep theirs.
	hostIP     = "10.213.0.1"
	guestIP    = "10.213.0.%d"
	guestIPs   = 100 // the first guest's last number
	maxGuests  = 99
	tapPrefix  = "sheafe2e"
	nftPrefix  = "sheaf_e2e_"
	networkRun = "/run/sheaf-e2e.lock" // one for the host: taps are, whatever cache a test uses
)

// link is one guest's network: a tap, and a rule that takes what arrives there for hostIP to 127.0.0.1.
type link struct {
	tap, ip, mac string
}

func newLink() (*link, error) {
	n := 1
	for exists(n) {
		if n++; n > maxGuests {
			return nil, fmt.Errorf("%d guests run already", maxGuests)
		}
	}
	l := &link{
		tap: fmt.Sprintf("%s%d", tapPrefix, n),
		ip:  fmt.Sprintf(guestIP, guestIPs+n),
		mac: fmt.Sprintf("52:54:00:5e:af:%02x", n),
	}
	if err := l.up(); err != nil {
		l.remove()
		return nil, err
	}
	return l, nil
}

func exists(n int) bool {
	_, err := os.Stat(fmt.Sprintf("/sys/class/net/%s%d", tapPrefix, n))
	return err == nil
}

func (l *link) up() error {
	for _, args := range [][]string{
		{"ip", "tuntap", "add", "dev", l.tap, "mode", "tap"},
		{"ip", "addr", "add", hostIP + "/32", "peer", l.ip + "/32", "dev", l.tap},
		{"ip", "link", "set", l.tap, "mtu", "1500", "up"},
	} {
		if err := command("", args...); err != nil {
			return err
		}
	}
	// Without it the kernel drops packets for 127.0.0.1 that come from outside.
	if err := os.WriteFile("/proc/sys/net/ipv4/conf/"+l.tap+"/route_localnet", []byte("1"), 0); err != nil {
		return err
	}
	rule := `table ip %s { chain in { type nat hook prerouting priority dstnat; iifname %q ip daddr %s dnat to 127.0.0.1; }; }`
	return command(fmt.Sprintf(rule, nftPrefix+l.tap, l.tap, hostIP), "nft", "-f", "-")
}

// remove is for whatever is there: it also clears up after a link that was half made, or made by a dead process.
func (l *link) remove() {
	_ = command("", "nft", "delete", "table", "ip", nftPrefix+l.tap)
	_ = command("", "ip", "link", "del", l.tap)
}

func lockNetwork() (unlock func(), err error) {
	f, err := os.OpenFile(networkRun, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := flock(f, unix.LOCK_EX); err != nil {
		f.Close()
		return nil, err
	}
	return func() { f.Close() }, nil
}

// tryLock takes the lock that a living process holds on its guest's folder; the kernel gives it up for a dead one.
func tryLock(name string) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := flock(f, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func flock(f *os.File, how int) error {
	for {
		err := unix.Flock(int(f.Fd()), how)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

func command(stdin string, args ...string) error {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdin = strings.NewReader(stdin)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", filepath.Base(args[0]), err, bytes.TrimSpace(out))
	}
	return nil
}
