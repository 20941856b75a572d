// Loads another broker through its official client in the shapes of `thrust bench`: so many connections, each with a queue of
// its own and so many messages of 1 KiB under way on it. KafkaLoad.java beside it does the same to Kafka.
//
//	brokers nats|rabbitmq send|consume ADDRESS PID CONNECTIONS IN_FLIGHT WARMUP SECS
//
// Prints messages per second, the median time from a send to its acknowledgement in microseconds (0 for consume), and the CPU
// time of process PID for each message in microseconds.
package main

import (
	"fmt"
	"os"
	"sort"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const bodyBytes = 1024

// CPU time in /proc comes in steps of 10 ms.
const tickMicros = 10_000

// A connection to a broker, with a queue of its own.
type connection interface {
	// publish sends a message, and gives what waits for its acknowledgement.
	publish(body []byte) (acknowledged func() error, err error)
	// consume calls received for each message there is or comes, until stop is closed.
	consume(received func(), stop <-chan struct{}) error
}

// Opens connection number n.
type dial func(address string, n int) (connection, error)

var brokers = map[string]dial{"nats": dialNats, "rabbitmq": dialRabbitmq}

// What one connection has done.
type lane struct {
	done      atomic.Uint64
	latencies []time.Duration
}

// What all connections look at.
type phase struct {
	measuring atomic.Bool
	stop      chan struct{}
}

func main() {
	if len(os.Args) != 9 || brokers[os.Args[1]] == nil {
		fail(fmt.Errorf("usage: %s nats|rabbitmq send|consume ADDRESS PID CONNECTIONS IN_FLIGHT WARMUP SECS", os.Args[0]))
	}
	work, address, pid := os.Args[2], os.Args[3], os.Args[4]
	connections, inFlight := int(number(os.Args[5])), int(number(os.Args[6]))
	now := &phase{stop: make(chan struct{})}
	lanes := make([]*lane, connections)
	var ended sync.WaitGroup
	for n := range lanes {
		opened, err := brokers[os.Args[1]](address, n)
		fail(err)
		own := &lane{}
		lanes[n] = own
		ended.Add(1)
		go func() {
			defer ended.Done()
			if work == "send" {
				fail(send(opened, own, inFlight, now))
			} else {
				fail(opened.consume(func() { own.done.Add(1) }, now.stop))
			}
		}()
	}
	measure(lanes, now, pid, number(os.Args[7]), number(os.Args[8]), &ended)
}

// send keeps that many messages under way. Acknowledgements are waited for in the order of the messages, which is theirs too.
func send(to connection, own *lane, inFlight int, now *phase) error {
	type sent struct {
		at           time.Time
		acknowledged func() error
	}
	body := make([]byte, bodyBytes)
	take := func(message sent) error {
		if err := message.acknowledged(); err != nil {
			return err
		}
		if now.measuring.Load() {
			own.latencies = append(own.latencies, time.Since(message.at))
		}
		own.done.Add(1)
		return nil
	}
	publish := func() (sent, error) {
		at := time.Now()
		acknowledged, err := to.publish(body)
		return sent{at, acknowledged}, err
	}
	if inFlight == 1 {
		for !now.isOver() {
			message, err := publish()
			if err == nil {
				err = take(message)
			}
			if err != nil {
				return err
			}
		}
		return nil
	}
	room, pending, failed := make(chan struct{}, inFlight), make(chan sent, inFlight), make(chan error, 1)
	go func() {
		for message := range pending {
			if err := take(message); err != nil {
				failed <- err
				return
			}
			<-room
		}
		close(failed)
	}()
	for !now.isOver() {
		select {
		case room <- struct{}{}:
		case err := <-failed:
			return err
		}
		message, err := publish()
		if err != nil {
			return err
		}
		pending <- message
	}
	close(pending)
	return <-failed
}

func (now *phase) isOver() bool {
	select {
	case <-now.stop:
		return true
	default:
		return false
	}
}

func measure(lanes []*lane, now *phase, pid string, warmup, secs float64, ended *sync.WaitGroup) {
	total := func() (sum uint64) {
		for _, lane := range lanes {
			sum += lane.done.Load()
		}
		return sum
	}
	time.Sleep(time.Duration(warmup * float64(time.Second)))
	now.measuring.Store(true)
	ticks, before, from := cpuTicks(pid), total(), time.Now()
	time.Sleep(time.Duration(secs * float64(time.Second)))
	messages, elapsed := total()-before, time.Since(from).Seconds()
	ticks = cpuTicks(pid) - ticks
	now.measuring.Store(false)
	close(now.stop)
	ended.Wait()
	if messages == 0 {
		fail(fmt.Errorf("nothing was acknowledged or received"))
	}
	var latencies []time.Duration
	for _, lane := range lanes {
		latencies = append(latencies, lane.latencies...)
	}
	sort.Slice(latencies, func(one, other int) bool { return latencies[one] < latencies[other] })
	var median time.Duration
	if len(latencies) > 0 {
		median = latencies[len(latencies)/2]
	}
	fmt.Printf("%.0f %d %.2f\n", float64(messages)/elapsed, median.Microseconds(), float64(ticks*tickMicros)/float64(messages))
}

// User and system time of a process. The name of the program, which may hold spaces, ends with the last parenthesis.
func cpuTicks(pid string) uint64 {
	stat, err := os.ReadFile("/proc/" + pid + "/stat")
	fail(err)
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+2:]))
	return uint64(number(fields[11]) + number(fields[12]))
}

func number(text string) float64 {
	value, err := strconv.ParseFloat(text, 64)
	fail(err)
	return value
}

// Whatever fails ends the measurement: a rate of fewer connections would be a wrong one.
func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "brokers:", err)
		os.Exit(1)
	}
}
