package main

import "time"

// defaultAway is -away of a whole run.
const defaultAway = 15 * time.Second

// awayGoal is how much longer than beside a healthy volume a call may take beside one that is away, at its p99.
const awayGoal = 2.0
