package union

import (
	"sync"

	"sheaf/vfs/volume"
)

// keyShards is how many locks a volume's map of keys is cut into.
const keyShards = 64

// keyShard maps keys to the nodes in memory that lie there. It is by inode number first, which is
// all that news of a watch tell.
type keyShard struct {
	mu   sync.Mutex
	m    map[uint64]keyNode
	more map[volume.Key]*node // of inode numbers that m has with another birth time
}

// keyNode is a node by the birth time of its key.
type keyNode struct {
	birth int64
	n     *node
}

func (v *vol) shard(ino uint64) *keyShard { return &v.keys[ino%keyShards] }

// keyed is the node that lies at k as far as memory knows, without a reference.
func (v *vol) keyed(k volume.Key) *node {
	s := v.shard(k.Ino)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.get(k)
}

func (s *keyShard) get(k volume.Key) *node {
	if e, ok := s.m[k.Ino]; ok && e.birth == k.Birth {
		return e.n
	}
	return s.more[k]
}

// byIno appends to nodes those that lie at an inode number as far as memory knows, without references: one
// but for the moment in which a number was used again.
func (v *vol) byIno(ino uint64, nodes []*node) []*node {
	s := v.shard(ino)
	s.mu.Lock()
	defer s.mu.Unlock()
	if e, ok := s.m[ino]; ok {
		nodes = append(nodes, e.n)
	}
	for k, n := range s.more {
		if k.Ino == ino {
			nodes = append(nodes, n)
		}
	}
	return nodes
}

// setKey lets n lie at k, and gives the node that did until now, if it is another.
func (v *vol) setKey(k volume.Key, n *node) (was *node) {
	s := v.shard(k.Ino)
	s.mu.Lock()
	defer s.mu.Unlock()
	if was = s.get(k); was == n {
		return nil
	}
	if e, ok := s.m[k.Ino]; ok && e.birth != k.Birth {
		if s.more == nil {
			s.more = make(map[volume.Key]*node)
		}
		s.more[k] = n
		return was
	}
	delete(s.more, k)
	s.m[k.Ino] = keyNode{k.Birth, n}
	return was
}

// unkey takes n away from k. A directory is not watched any more then: under the lock, so that
// another node for the same directory cannot have begun to rely on it.
func (v *vol) unkey(k volume.Key, n *node) {
	s := v.shard(k.Ino)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.get(k) != n {
		return
	}
	if s.m[k.Ino].n == n {
		delete(s.m, k.Ino)
	} else {
		delete(s.more, k)
	}
	if n.isDir() {
		v.watch.uncover(k.Ino)
	}
}
