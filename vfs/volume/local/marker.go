//go:build linux || darwin || freebsd

//nolint:errorlint // the errnos of package unix come bare
package local

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"sheaf/vfs"
	"sheaf/vfs/volume"
)

// The outcomes of looking for a marker that a caller may want to tell apart
// (errors.Is). Each comes inside a vfs.Error that says what to do.
var (
	ErrUnmarked = errors.New("this directory is not a volume of Sheaf: it has no " + markerPath)
	ErrCopy     = errors.New("this is a copy of a volume: its " + volume.PrivateName + " directory is not the one its marker was written for")
	ErrNewer    = errors.New("its marker was written by a newer Sheaf")
	ErrCorrupt  = errors.New("its marker cannot be read")
	ErrLocked   = errors.New("another server has this volume open")
)

// MarkerName is what the marker is called in volume.PrivateName.
const MarkerName = "volume.json"

const (
	markerName = MarkerName
	markerPath = volume.PrivateName + "/" + markerName
	// markerMax bounds the marker's file, in bytes: some 6,000 members and removed volumes.
	markerMax = 1 << 20
)

func tmpSuffix() string {
	var b [8]byte
	rand.Read(b[:]) // never fails (crypto/rand)
	return ".tmp-" + hex.EncodeToString(b[:])
}

// decodeMarker reads what encodeMarker wrote, and checks every field it can.
func decodeMarker(b []byte) (volume.Marker, error) {
	var head struct {
		Format int `json:"format"`
	}
	if err := json.Unmarshal(b, &head); err != nil {
		return volume.Marker{}, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	if head.Format > volume.MarkerFormat {
		return volume.Marker{}, fmt.Errorf("%w: format %d, this one knows %d", ErrNewer, head.Format, volume.MarkerFormat)
	}
	var m volume.Marker
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&m); err != nil {
		return volume.Marker{}, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	if err := checkMarker(&m); err != nil {
		return volume.Marker{}, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return m, nil
}

// The lengths of a marker's hexadecimal fields, in digits.
const (
	shareDigits = 32
	keyDigits   = 64
)

func checkMarker(m *volume.Marker) error {
	if m.Format < 1 || m.Format > volume.MarkerFormat {
		return fmt.Errorf("format %d", m.Format)
	}
	if _, err := volume.ParseID(m.Volume); err != nil {
		return err
	}
	for _, f := range []struct {
		what, s string
		digits  int
	}{{"share", m.Share, shareDigits}, {"root", m.Root, shareDigits}, {"key", m.Key, keyDigits}} {
		if _, err := hex.DecodeString(f.s); err != nil || len(f.s) != f.digits {
			return fmt.Errorf("%s: want %d hexadecimal digits", f.what, f.digits) // never print the key
		}
	}
	for _, mem := range m.Members {
		if _, err := volume.ParseID(mem.Volume); err != nil {
			return fmt.Errorf("member %q: %w", mem.Name, err)
		}
	}
	for _, gone := range m.Removed {
		if _, err := volume.ParseID(gone.Volume); err != nil {
			return fmt.Errorf("removed volume %q: %w", gone.Name, err)
		}
	}
	return nil
}

func encodeMarker(m *volume.Marker) ([]byte, error) {
	b, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return nil, err
	}
	return append(b, '\n'), nil
}

// sameBirth reports whether the private directory is the one the marker was
// written for. Facts that one side does not know (a sandbox that forbids
// name_to_handle_at, a file system without birth times) do not count.
func sameBirth(was, is volume.Identity) bool {
	return was.Ino == is.Ino &&
		(was.Gen == is.Gen || was.Gen == 0 || is.Gen == 0) &&
		(was.Birth == is.Birth || was.Birth == 0 || is.Birth == 0) &&
		(was.Sub == is.Sub || was.Sub == 0 || is.Sub == 0)
}

// readMarker is the marker in the private directory; with ErrCopy it is valid, too.
func (v *Volume) readMarker() (volume.Marker, error) {
	b, err := readSmall(v.private.fd, markerName, markerMax)
	switch {
	case err == unix.ENOENT:
		return volume.Marker{}, v.markerFault(ErrUnmarked)
	case errors.Is(err, errLong):
		return volume.Marker{}, v.markerFault(fmt.Errorf("%w: %w", ErrCorrupt, err))
	case err != nil:
		return volume.Marker{}, v.fault("read the marker", markerPath, err)
	}
	m, err := decodeMarker(b)
	if err != nil {
		return m, v.markerFault(err)
	}
	r, err := v.private.self()
	if err != nil {
		return m, v.fault("read the marker", markerPath, err)
	}
	if !sameBirth(m.Birth, v.identity(&r)) {
		return m, v.markerFault(ErrCopy)
	}
	return m, nil
}

// markerFault says of each outcome what to do about it.
func (v *Volume) markerFault(err error) error {
	e := &vfs.Error{Status: vfs.NXIO, Op: "open volume", Object: v.path, Volume: v.name, Err: err}
	switch {
	case errors.Is(err, ErrUnmarked):
		e.Do = "if the right disk is mounted there and it is to join the share, start once with --adopt; nothing is written to your files"
	case errors.Is(err, ErrCopy):
		e.Do = "if it is to take the place of its original, or beside that to be a volume of its own, give --adopt"
	case errors.Is(err, ErrNewer):
		e.Do = "use the Sheaf that wrote it, or a newer one"
	case errors.Is(err, ErrCorrupt):
		e.Do = "restore " + markerPath + " from another member's copy of the membership or a backup; the files of the volume are untouched"
	}
	return e
}

// Marker is what the volume says it is.
func (v *Volume) Marker() volume.Marker {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.marker
}

// SetMarker replaces the marker durably. Format, Volume and Birth stay what they are.
func (v *Volume) SetMarker(_ context.Context, m volume.Marker) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	m.Format, m.Volume, m.Birth = volume.MarkerFormat, v.marker.Volume, v.marker.Birth
	return v.storeMarker(m)
}

// storeMarker wants v.mu, or a volume nobody else knows yet.
func (v *Volume) storeMarker(m volume.Marker) error {
	if err := checkMarker(&m); err != nil {
		return &vfs.Error{Status: vfs.Inval, Op: "write the marker", Object: markerPath, Volume: v.name, Err: err}
	}
	b, err := encodeMarker(&m)
	if err == nil && len(b) > markerMax {
		err = errLong
	}
	if err != nil {
		return &vfs.Error{Status: vfs.Inval, Op: "write the marker", Object: markerPath, Volume: v.name, Err: err}
	}
	if err := replaceSmall(v.private.fd, markerName, b); err != nil {
		return v.fault("write the marker", markerPath, err)
	}
	v.marker = m
	return nil
}
