// Package lease gives exclusive and shared leases on nodes, names and the tree.
//
// An operation takes everything it needs in one call, [Table.Acquire]: the
// keys are sorted, so that no two operations can wait for each other, and all
// are granted or none. Whoever waits is served in the order of arrival, key by
// key: a writer is not starved by readers, because a reader that comes after a
// waiting writer waits too.
//
// # Order
//
// Leases that do not fit into one call are taken upwards: a goroutine that
// holds leases may acquire more only if every new key sorts after every key it
// holds. Keys sort by kind, [Tree] before [Name] before [Node], and by node id
// and cookie within a kind. So an operation may take the name, look it up, and then
// take the nodes it found. What breaks the order uses [Table.TryAcquire],
// which never waits.
//
// A lease is not re-entrant: taking a key again, even shared, while holding it
// waits for ever if a writer has come between.
//
// # Cost
//
// A key that nobody holds or waits for takes no memory. An uncontended acquire
// and release of one to six keys does not allocate once the table is warm.
package lease
