module berth.dev/testbed/box

go 1.26.0
