package billyfs_test

import "context"

var ctx = context.Background()
