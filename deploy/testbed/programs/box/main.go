// Command box is the one program inside the testbed's images and the first process of its nodes.
//
// Its arguments are steps, carried out in order; without any it pauses.
//
//	print TEXT     prints a line
//	env            prints the environment, sorted
//	file PATH      prints a file
//	mark PATH      writes an empty file
//	sleep SECONDS  waits, and ends at once with SIGTERM
//	pause          waits for SIGTERM or SIGINT, and reaps orphans: what a first process must do
//	exit CODE      ends with that code
//	forward A B    listens at A and carries what comes there to B, both tcp:HOST:PORT or unix:PATH
package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	steps := os.Args[1:]
	if len(steps) == 0 {
		steps = []string{"pause"}
	}
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGTERM, syscall.SIGINT)
	for len(steps) > 0 {
		taken, err := step(steps, end)
		if err != nil {
			fmt.Fprintln(os.Stderr, "box:", err)
			os.Exit(2)
		}
		steps = steps[taken:]
	}
}

// step carries out the first step and returns how many arguments it took.
func step(steps []string, end <-chan os.Signal) (int, error) {
	name, argument := steps[0], ""
	switch name {
	case "env":
		environment := os.Environ()
		slices.Sort(environment)
		for _, variable := range environment {
			fmt.Println(variable)
		}
		return 1, nil
	case "pause":
		pause(end)
		return 1, nil
	case "forward":
		if len(steps) < 3 {
			return 0, fmt.Errorf("forward: from where, and to where?")
		}
		return 3, forward(steps[1], steps[2])
	}
	if len(steps) < 2 {
		return 0, fmt.Errorf("step %q needs an argument, or is none of print, env, file, mark, sleep, pause, exit, forward", name)
	}
	argument = steps[1]
	switch name {
	case "print":
		fmt.Println(argument)
	case "file":
		content, err := os.ReadFile(argument)
		if err != nil {
			return 0, err
		}
		os.Stdout.Write(content)
	case "mark":
		if err := os.WriteFile(argument, nil, 0o644); err != nil {
			return 0, err
		}
	case "sleep":
		seconds, err := strconv.ParseFloat(argument, 64)
		if err != nil {
			return 0, fmt.Errorf("sleep: %q is no number of seconds", argument)
		}
		select {
		case <-time.After(time.Duration(seconds * float64(time.Second))):
		case <-end:
			os.Exit(143)
		}
	case "exit":
		code, err := strconv.Atoi(argument)
		if err != nil {
			return 0, fmt.Errorf("exit: %q is no number", argument)
		}
		os.Exit(code)
	default:
		return 0, fmt.Errorf("no step %q: there are print, env, file, mark, sleep, pause, exit, forward", name)
	}
	return 2, nil
}

// pause waits for the end, and takes the exit status of every orphan meanwhile.
func pause(end <-chan os.Signal) {
	children := make(chan os.Signal, 16)
	signal.Notify(children, syscall.SIGCHLD)
	for {
		select {
		case <-end:
			return
		case <-children:
			for {
				pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil)
				if pid <= 0 || err != nil {
					break
				}
			}
		}
	}
}

// forward carries connections to the end of the process.
func forward(from, to string) error {
	network, address, _ := strings.Cut(from, ":")
	listener, err := net.Listen(network, address)
	if err != nil {
		return err
	}
	for {
		near, err := listener.Accept()
		if err != nil {
			return err
		}
		go carry(near, to)
	}
}

// carry copies both ways until both have ended.
func carry(near net.Conn, to string) {
	defer near.Close()
	network, address, _ := strings.Cut(to, ":")
	far, err := net.Dial(network, address)
	if err != nil {
		fmt.Fprintln(os.Stderr, "box:", err)
		return
	}
	defer far.Close()
	done := make(chan struct{}, 2)
	half := func(into, out net.Conn) {
		io.Copy(into, out)
		if writer, ok := into.(interface{ CloseWrite() error }); ok {
			writer.CloseWrite()
		}
		done <- struct{}{}
	}
	go half(far, near)
	go half(near, far)
	<-done
	<-done
}
