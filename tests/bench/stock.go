package main

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"slices"
	"strings"
	"sync"

	"github.com/go-git/go-billy/v5"
	nfs "github.com/willscott/go-nfs"
)

// runStock is the child "go-nfs": the stock server over dir, at an address.
func runStock(dir, at string, ready func(addr string)) error {
	l, err := net.Listen("tcp", at)
	if err != nil {
		return err
	}
	ready(l.Addr().String())
	nfs.Log.SetLevel(nfs.ErrorLevel)
	h := &stock{
		fs: durable{dir}, byID: [][]string{nil}, byPath: map[string]uint64{"": 0},
		listings: map[uint64][]fs.FileInfo{},
	}
	return nfs.Serve(l, h)
}

// stock is the cheapest nfs.Handler that works: a table of handles. The one that comes with go-nfs
// walks all the handles it knows in every call, and would make the baseline too easy.
type stock struct {
	fs durable

	mu       sync.RWMutex
	byID     [][]string
	byPath   map[string]uint64
	listings map[uint64][]fs.FileInfo // by verifier
	verifier uint64
}

// listingsMax bounds the listings that are kept for readers who come back.
const listingsMax = 256

func (s *stock) Mount(context.Context, net.Conn, nfs.MountRequest) (nfs.MountStatus, billy.Filesystem, []nfs.AuthFlavor) {
	return nfs.MountStatusOk, s.fs, []nfs.AuthFlavor{nfs.AuthFlavorUnix}
}

func (s *stock) Change(billy.Filesystem) billy.Change                        { return s.fs }
func (s *stock) FSStat(context.Context, billy.Filesystem, *nfs.FSStat) error { return nil }
func (s *stock) HandleLimit() int                                            { return 1 << 20 }

// ToHandle is the number of a path.
func (s *stock) ToHandle(_ billy.Filesystem, path []string) []byte {
	key := strings.Join(path, "/")
	s.mu.RLock()
	id, ok := s.byPath[key]
	s.mu.RUnlock()
	if !ok {
		s.mu.Lock()
		defer s.mu.Unlock()
		if id, ok = s.byPath[key]; !ok {
			id = uint64(len(s.byID))
			s.byID = append(s.byID, append([]string(nil), path...))
			s.byPath[key] = id
		}
	}
	return be.AppendUint64(nil, id)
}

// FromHandle is the path of a number. The caller may append to it.
func (s *stock) FromHandle(h []byte) (billy.Filesystem, []string, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if len(h) != 8 || be.Uint64(h) >= uint64(len(s.byID)) {
		return nil, nil, errors.New("not a handle")
	}
	path := s.byID[be.Uint64(h)]
	return s.fs, slices.Clip(path), nil
}

// InvalidateHandle forgets the path of a handle; the number is not given again.
func (s *stock) InvalidateHandle(_ billy.Filesystem, h []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(h) == 8 && be.Uint64(h) < uint64(len(s.byID)) {
		delete(s.byPath, strings.Join(s.byID[be.Uint64(h)], "/"))
	}
	return nil
}

// VerifierFor keeps a listing for whoever comes back for its next page.
func (s *stock) VerifierFor(_ string, contents []fs.FileInfo) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.verifier++
	s.listings[s.verifier] = contents
	delete(s.listings, s.verifier-listingsMax)
	return s.verifier
}

// DataForVerifier is a listing that was kept.
func (s *stock) DataForVerifier(_ string, verifier uint64) []fs.FileInfo {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.listings[verifier]
}
