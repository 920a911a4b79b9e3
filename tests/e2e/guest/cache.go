//go:build linux

package guest

import (
	"crypto/sha256"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// What guests have. Everything the tests run is named here; the rest of the disk is debootstrap's smallest Debian.
const packages = "acl,attr,fio,git,iproute2,kmod,mount,netbase,nfs-common,nfs-kernel-server,php-cli,php-sqlite3,procps,psmisc," +
	"python3-minimal,rsync,sqlite3,strace"

//go:embed build.sh
var buildScript []byte

func cacheDir() string {
	if dir := os.Getenv("SHEAF_E2E_CACHE"); dir != "" {
		return dir
	}
	return "/var/tmp/sheaf-e2e"
}

// prepare returns the folder with the kernel and the disk that guests boot from. It builds them at first use, which
// takes a minute or two, and again when the recipe changes.
var prepare = sync.OnceValues(func() (string, error) {
	if err := hostCan(); err != nil {
		return "", err
	}
	cache := cacheDir()
	recipe := sha256.Sum256(append([]byte(packages+"\n"), buildScript...))
	image := filepath.Join(cache, fmt.Sprintf("image-%x", recipe[:6]))
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", err
	}
	lock, err := os.OpenFile(filepath.Join(cache, "build.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return "", err
	}
	defer lock.Close()
	if err := flock(lock, unix.LOCK_EX); err != nil { // others wait here for the one that builds
		return "", err
	}
	if _, err := os.Stat(filepath.Join(image, "root.img")); err == nil {
		return image, nil
	}
	return image, build(cache, image)
})

func build(cache, image string) error {
	stale, _ := filepath.Glob(filepath.Join(cache, "image-*"))
	for _, dir := range stale { // a guest that runs from one of these keeps its open files
		os.RemoveAll(dir)
	}
	unfinished := filepath.Join(cache, "unfinished")
	if err := errors.Join(os.RemoveAll(unfinished), os.Mkdir(unfinished, 0o755)); err != nil {
		return err
	}
	defer os.RemoveAll(unfinished)
	name := filepath.Join(cache, "build.log")
	log, err := os.Create(name)
	if err != nil {
		return err
	}
	defer log.Close()
	script := filepath.Join(unfinished, "build.sh")
	if err := os.WriteFile(script, buildScript, 0o755); err != nil {
		return err
	}
	cmd := exec.Command("/bin/bash", script, unfinished, packages)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("building the guest: %w (%s)\n%s", err, name, tail(name, 10))
	}
	return os.Rename(unfinished, image)
}

// hostCan tells why this host cannot run guests.
func hostCan() error {
	if os.Geteuid() != 0 {
		return errors.New("root is needed for a tap and its address")
	}
	tun, err := os.OpenFile("/dev/net/tun", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	tun.Close()
	var missing []string
	for _, tool := range []string{"apt-get", "debootstrap", "depmod", "dpkg", "ip", "mke2fs", "nft"} {
		if _, err := exec.LookPath(tool); err != nil {
			missing = append(missing, tool)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("not installed: %s (Debian: debootstrap e2fsprogs iproute2 kmod nftables)",
			strings.Join(missing, ", "))
	}
	return nil
}

// BuildStatic builds a program of this module that runs in any guest, whatever its libraries are.
func BuildStatic(to, pkg string) error {
	cmd := exec.Command("go", "build", "-o", to, pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-buildvcs=false")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build %s: %w\n%s", pkg, err, out)
	}
	return nil
}
