// Runs the cases, several at a time, and prints one line for each. Exit code 1 when one failed.
//
// Every case is a process of its own: the client panics in goroutines of its own when it is shut down under traffic or when a
// pending asynchronous send fails, and that must cost one case and not the run.
package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/apache/rocketmq-client-go/v2/rlog"
)

const (
	parallel       = 6
	caseSecondsMax = 100
)

// A testCase is one situation, told with the official client. It fails by calling lab.check or lab.fail.
type testCase struct {
	name string
	run  func(*lab)
}

// Those that wait longest first, so that the rest fills the time beside them.
var together = []testCase{
	{"OffsetsKeptOverClientRestart", offsetsKeptOverClientRestart},
	{"RetryThenDeadLetter", retryThenDeadLetter},
	{"GroupGrowsToThreeAndShrinksToTwo", groupGrowsToThreeAndShrinksToTwo},
	{"OrderKeptWhenAMemberTakesOver", orderKeptWhenAMemberTakesOver},
	{"BroadcastStartsFirstLastOrAtATime", broadcastStartsFirstLastOrAtATime},
	{"BroadcastReachesEveryMember", broadcastReachesEveryMember},
	{"YoungTopicIsReadFromItsBeginning", youngTopicIsReadFromItsBeginning},
	{"TransactionsEndAsTheirProducersSay", transactionsEndAsTheirProducersSay},
	{"RequestIsAnswered", requestIsAnswered},
	{"TracesTellOfSendAndConsumption", tracesTellOfSendAndConsumption},
	{"NamespacesKeepClientsApart", namespacesKeepClientsApart},
	{"DelayLevelIsNotEarly", delayLevelIsNotEarly},
	{"SyncSend", syncSend},
	{"AsyncSend", asyncSend},
	{"OneWaySend", oneWaySend},
	{"EverythingOnAMessageRoundTrips", everythingOnAMessageRoundTrips},
	{"BatchBecomesSingleMessages", batchBecomesSingleMessages},
	{"BodyLimit", bodyLimit},
	{"CompressedBodyRoundTrips", compressedBodyRoundTrips},
	{"ConcurrentPushConsumption", concurrentPushConsumption},
	{"OrderlyPushConsumption", orderlyPushConsumption},
	{"TagFilter", tagFilter},
	{"SqlFilter", sqlFilter},
	{"PullFromAnyOffset", pullFromAnyOffset},
	{"PullConsumerSeeksAndCommits", pullConsumerSeeksAndCommits},
	{"PullConsumerPollsAndAcknowledges", pullConsumerPollsAndAcknowledges},
	{"AdminCreatesAndDeletesTopics", adminCreatesAndDeletesTopics},
}

// Those that stop or kill the server run by themselves, after all the others.
var alone = []testCase{
	{"OffsetsKeptOverBrokerRestart", offsetsKeptOverBrokerRestart},
	{"OpenTransactionsSurviveBrokerRestart", openTransactionsSurviveBrokerRestart},
	{"ClientSurvivesKill", clientSurvivesKill},
}

func main() {
	if len(os.Args) == 3 && os.Args[1] == "--one" {
		runOne(os.Args[2])
		return
	}
	var chosen []string
	for _, name := range os.Args[1:] {
		if find(name) == nil {
			fmt.Fprintf(os.Stderr, "no case %s; there are: %s\n", name, strings.Join(append(names(together), names(alone)...), " "))
			os.Exit(1)
		}
		chosen = append(chosen, name)
	}
	wanted := func(name string) bool {
		return len(chosen) == 0 || strings.Contains(" "+strings.Join(chosen, " ")+" ", " "+name+" ")
	}

	passed, failed := 0, 0
	var tell sync.Mutex
	try := func(name string) {
		start := time.Now()
		reason := runInProcess(name)
		tell.Lock()
		defer tell.Unlock()
		if reason == "" {
			passed++
			fmt.Printf("ok  %s  %.1f\n", name, time.Since(start).Seconds())
		} else {
			failed++
			fmt.Printf("FAIL %s: %s\n", name, reason)
		}
	}

	var wait sync.WaitGroup
	slots := make(chan struct{}, parallel)
	for _, c := range together {
		if wanted(c.name) {
			slots <- struct{}{}
			wait.Add(1)
			go func(name string) {
				defer wait.Done()
				try(name)
				<-slots
			}(c.name)
		}
	}
	wait.Wait()
	for _, c := range alone {
		if wanted(c.name) {
			try(c.name)
		}
	}
	fmt.Printf("%d passed, %d failed\n", passed, failed)
	if failed > 0 {
		os.Exit(1)
	}
}

// runInProcess gives the reason of a failure, or nothing.
func runInProcess(name string) string {
	ctx, cancel := context.WithTimeout(context.Background(), caseSecondsMax*time.Second)
	defer cancel()
	one := exec.CommandContext(ctx, os.Args[0], "--one", name)
	var said bytes.Buffer
	one.Stdout, one.Stderr = &said, &said
	err := one.Run()
	if ctx.Err() != nil {
		return fmt.Sprintf("not finished after %d s", caseSecondsMax)
	}
	if err == nil {
		return ""
	}
	for _, line := range strings.Split(said.String(), "\n") {
		if strings.HasPrefix(line, "panic:") || strings.HasPrefix(line, "fatal error:") || strings.HasPrefix(line, failMark) {
			return strings.TrimPrefix(line, failMark)
		}
	}
	return err.Error()
}

const failMark = "failed: "

func runOne(name string) {
	if dir := os.Getenv("INTEROP_LOGS"); dir != "" && os.MkdirAll(dir, 0o755) == nil {
		_ = rlog.SetOutputPath(filepath.Join(dir, name+".log"))
	}
	l := newLab(name)
	reason := l.outcome(find(name).run)
	if reason != "" {
		fmt.Println(failMark + reason)
	}
	// A client that hangs while it closes does not change the outcome.
	closed := make(chan struct{})
	go func() { l.close(); close(closed) }()
	select {
	case <-closed:
	case <-time.After(10 * time.Second):
	}
	if reason != "" {
		os.Exit(1)
	}
}

func find(name string) *testCase {
	for _, c := range append(append([]testCase{}, together...), alone...) {
		if c.name == name {
			return &c
		}
	}
	return nil
}

func names(cases []testCase) (all []string) {
	for _, c := range cases {
		all = append(all, c.name)
	}
	return all
}
