package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/apache/rocketmq-client-go/v2/admin"
	"github.com/apache/rocketmq-client-go/v2/primitive"
)

func adminCreatesAndDeletesTopics(l *lab) {
	a := l.admin()
	listed := func(topic string) bool {
		list, err := a.FetchAllTopicList(l.within(5))
		l.must("topic list", err)
		for _, t := range list.TopicList {
			if t == topic {
				return true
			}
		}
		return false
	}
	topic := l.topic(5) // has waited for a route with 5 queues
	l.check(listed(topic), "%s is not in the topic list", topic)
	p := l.producer()
	used := map[int]bool{}
	for i := 0; i < 5; i++ {
		used[l.send(p, primitive.NewMessage(topic, []byte("round"))).MessageQueue.QueueId] = true
	}
	l.check(len(used) == 5, "5 messages in turn went to %d of 5 queues", len(used))
	l.createTopic(topic, 7) // again, with other numbers

	var got inbox
	group := l.group()
	l.push(group, topic, everything, got.accept)
	l.eventually(20*time.Second, func() bool { return got.count() == 5 }, func() string { return fmt.Sprintf("%d of 5 messages", got.count()) })
	groups, err := a.GetAllSubscriptionGroup(l.within(5), l.brokerAddr(), 5*time.Second)
	l.must("subscription groups", err)
	_, known := groups.SubscriptionGroupTable[group]
	l.check(known, "the group %s is not among the broker's %d", group, len(groups.SubscriptionGroupTable))

	gone := l.topic(2)
	l.must("delete topic", a.DeleteTopic(l.within(10), admin.WithTopicDelete(gone)))
	l.eventually(10*time.Second, func() bool { return len(l.queues(gone)) == 0 && !listed(gone) }, func() string { return gone + " is still there" })
	l.check(len(l.queues(l.fresh("nothing"))) == 0, "a topic that never was has a route")
}

func offsetsKeptOverBrokerRestart(l *lab) {
	topic, group := l.topic(4), l.group()
	l.pollsExactly(group, topic, l.sendMany(l.producer(), topic, "before", 40))

	l.server("restart")

	var wanted []string
	p := l.producer()
	for i := 0; i < 40; i++ {
		body := fmt.Sprint("after-", i)
		l.eventually(30*time.Second, func() bool {
			_, err := p.SendSync(context.Background(), primitive.NewMessage(topic, []byte(body)))
			return err == nil
		}, func() string { return "cannot send after the restart" })
		wanted = append(wanted, body)
	}
	l.pollsExactly(group, topic, wanted)
}

// Producers and a consumer live through kill -9 and start. Whatever was acknowledged is there afterwards.
func clientSurvivesKill(l *lab) {
	topic, p := l.topic(4), l.producer()

	// A group whose offsets are older than 5 s when the kill comes must not go back.
	calm, calmGroup := l.topic(1), l.group()
	l.pollsExactly(calmGroup, calm, l.sendMany(p, calm, "long ago", 20))

	var got inbox
	l.push(l.group(), topic, everything, got.accept)

	const writers = 4
	var mutex sync.Mutex
	var acknowledged []string
	back := make([]int, writers) // messages acknowledged after the new start, by writer
	started := false
	stop := make(chan struct{})
	var wait sync.WaitGroup
	for w := 0; w < writers; w++ {
		wait.Add(1)
		go func(w int) {
			defer wait.Done()
			for i := 0; i < 100000; i++ {
				select {
				case <-stop:
					return
				case <-time.After(2 * time.Millisecond):
				}
				body := fmt.Sprintf("writer %d message %d", w, i)
				sent, err := p.SendSync(context.Background(), primitive.NewMessage(topic, []byte(body)))
				if err == nil && sent.Status == primitive.SendOK {
					mutex.Lock()
					acknowledged = append(acknowledged, body)
					if started {
						back[w]++
					}
					mutex.Unlock()
				}
			}
		}(w)
	}
	time.Sleep(7 * time.Second)
	l.server("kill")
	mutex.Lock()
	before := len(acknowledged)
	mutex.Unlock()
	time.Sleep(500 * time.Millisecond)
	l.server("start")
	mutex.Lock()
	started = true
	mutex.Unlock()
	l.eventually(30*time.Second, func() bool {
		mutex.Lock()
		defer mutex.Unlock()
		for _, n := range back {
			if n < 20 {
				return false
			}
		}
		return true
	}, func() string { return fmt.Sprintf("messages acknowledged after the new start, by writer: %v", back) })
	close(stop)
	wait.Wait()
	l.check(before > 100, "only %d messages acknowledged before the kill", before)

	// A pull that was under way when the broker died is waited for up to 30 s; then the client goes on by itself.
	var fresh inbox
	l.push(l.group(), topic, everything, fresh.accept)
	l.gets(&fresh, 20*time.Second, acknowledged)
	l.gets(&got, 45*time.Second, acknowledged)
	l.send(p, primitive.NewMessage(calm, []byte("new")))
	l.pollsExactly(calmGroup, calm, []string{"new"})
}
