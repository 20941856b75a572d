package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
)

// A decider decides transactions by their bodies: commit…, rollback…, and unknown-commit… or unknown-rollback…, which are known
// when they are checked.
type decider struct {
	mutex   sync.Mutex
	silent  bool
	checked map[string]int
}

func (d *decider) ExecuteLocalTransaction(m *primitive.Message) primitive.LocalTransactionState {
	return decide(string(m.Body))
}

func (d *decider) CheckLocalTransaction(m *primitive.MessageExt) primitive.LocalTransactionState {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	if d.silent {
		return primitive.UnknowState
	}
	d.checked[string(m.Body)]++
	return decide(strings.TrimPrefix(string(m.Body), "unknown-"))
}

func decide(body string) primitive.LocalTransactionState {
	switch {
	case strings.HasPrefix(body, "commit"):
		return primitive.CommitMessageState
	case strings.HasPrefix(body, "rollback"):
		return primitive.RollbackMessageState
	}
	return primitive.UnknowState
}

func (d *decider) checkedBodies() (bodies []string) {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	for body := range d.checked {
		bodies = append(bodies, body)
	}
	return bodies
}

func (l *lab) transactionProducer(d *decider) rocketmq.TransactionProducer {
	p, err := rocketmq.NewTransactionProducer(d, producer.WithNameServer(l.namesrv), producer.WithGroupName(l.group()),
		producer.WithInstanceName(l.fresh("client")), producer.WithRetry(2))
	l.must("transaction producer", err)
	l.must("transaction producer start", p.Start())
	l.closeLater(p.Shutdown)
	return p
}

func (l *lab) transact(p rocketmq.TransactionProducer, topic, body string) {
	sent, err := p.SendMessageInTransaction(l.within(10), primitive.NewMessage(topic, []byte(body)))
	l.must("send "+body, err)
	l.check(sent.Status == primitive.SendOK, "send status %v", sent.Status)
}

func (l *lab) onlyUnknownOnesWereChecked(d *decider) {
	for _, body := range d.checkedBodies() {
		l.check(strings.HasPrefix(body, "unknown"), "%s was checked", body)
	}
}

func transactionsEndAsTheirProducersSay(l *lab) {
	topic, d := l.topic(2), &decider{checked: map[string]int{}}
	p := l.transactionProducer(d)
	var got inbox
	l.push(l.group(), topic, everything, got.accept)
	var wanted []string
	for i := 0; i < 5; i++ {
		for _, kind := range []string{"commit", "rollback", "unknown-commit", "unknown-rollback"} {
			body := fmt.Sprint(kind, i)
			l.transact(p, topic, body)
			if strings.Contains(kind, "commit") {
				wanted = append(wanted, body)
			}
		}
	}
	l.getsExactly(&got, 60*time.Second, wanted)
	l.onlyUnknownOnesWereChecked(d)
}

func openTransactionsSurviveBrokerRestart(l *lab) {
	topic, d := l.topic(1), &decider{checked: map[string]int{}, silent: true}
	p := l.transactionProducer(d)
	var wanted []string
	for i, end := range []string{"kill", "stop"} {
		for _, kind := range []string{"commit", "unknown-commit", "rollback", "unknown-rollback"} {
			body := fmt.Sprint(kind, i)
			sent := false
			// The client's connection may have died with the server before.
			l.eventually(30*time.Second, func() bool {
				ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
				defer cancel()
				_, err := p.SendMessageInTransaction(ctx, primitive.NewMessage(topic, []byte(body)))
				sent = err == nil
				return sent
			}, func() string { return "cannot send " + body })
			if strings.Contains(kind, "commit") {
				wanted = append(wanted, body)
			}
		}
		time.Sleep(200 * time.Millisecond) // the client sends its decisions one way
		l.server(end)
		l.server("start")
	}
	d.mutex.Lock()
	d.silent = false
	d.mutex.Unlock()
	var got inbox
	l.push(l.group(), topic, everything, got.accept)
	l.getsExactly(&got, 80*time.Second, wanted)
	l.onlyUnknownOnesWereChecked(d)
}
