package main

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
)

type consumeResult = consumer.ConsumeResult

func concurrentPushConsumption(l *lab) {
	topic, p := l.topic(4), l.producer()
	wanted := l.sendMany(p, topic, "before", 300)
	var got inbox
	var inside, most int32
	l.push(l.group(), topic, everything, func(ctx context.Context, messages ...*primitive.MessageExt) (consumeResult, error) {
		now := atomic.AddInt32(&inside, 1)
		for seen := atomic.LoadInt32(&most); now > seen && !atomic.CompareAndSwapInt32(&most, seen, now); seen = atomic.LoadInt32(&most) {
		}
		time.Sleep(time.Millisecond)
		atomic.AddInt32(&inside, -1)
		return got.accept(ctx, messages...)
	})
	wanted = append(wanted, l.sendMany(p, topic, "while", 300)...)
	l.getsExactly(&got, 30*time.Second, wanted)
	l.check(atomic.LoadInt32(&most) > 1, "never more than one message at a time")
}

// A numbered message has as body the key whose order counts and a number: "key-3 17".
func sendNumbered(l *lab, p rocketmq.Producer, topic string, keys, from, until int) (wanted []string) {
	for number := from; number < until; number++ {
		for key := 0; key < keys; key++ {
			name := fmt.Sprint("key-", key)
			body := fmt.Sprint(name, " ", number)
			l.send(p, primitive.NewMessage(topic, []byte(body)).WithShardingKey(name))
			wanted = append(wanted, body)
		}
	}
	return wanted
}

// inOrder checks that no message came for the first time after a later one of its key. Repetition is allowed.
func (l *lab) inOrder(in *inbox) {
	last := map[string]int{}
	for _, m := range in.messages() {
		var key string
		var number int
		_, err := fmt.Sscan(string(m.Body), &key, &number)
		l.must("body "+string(m.Body), err)
		if before, known := last[key]; known {
			l.check(number <= before+1, "%s: %d came after %d", key, number, before)
			if number <= before {
				continue
			}
		} else {
			l.check(number == 0, "%s begins with %d", key, number)
		}
		last[key] = number
	}
}

func orderlyPushConsumption(l *lab) {
	topic, p := l.topic(4), l.producer(producer.WithQueueSelector(producer.NewHashQueueSelector()))
	wanted := sendNumbered(l, p, topic, 8, 0, 20)
	var got inbox
	inside := sync.Map{} // queue id → *int32
	l.push(l.group(), topic, everything, func(ctx context.Context, messages ...*primitive.MessageExt) (consumeResult, error) {
		count, _ := inside.LoadOrStore(messages[0].Queue.QueueId, new(int32))
		if atomic.AddInt32(count.(*int32), 1) > 1 {
			messages[0].Body = []byte("two-at-a-time 1")
		}
		time.Sleep(time.Millisecond)
		atomic.AddInt32(count.(*int32), -1)
		return got.accept(ctx, messages...)
	}, consumer.WithConsumerOrder(true))
	wanted = append(wanted, sendNumbered(l, p, topic, 8, 20, 40)...)
	l.gets(&got, 40*time.Second, wanted)
	l.inOrder(&got)
}

// A member that joins is not shown here: the client keeps the locks of queues it gives away until they expire after 60 s.
func orderKeptWhenAMemberTakesOver(l *lab) {
	topic, group := l.topic(4), l.group()
	p := l.producer(producer.WithQueueSelector(producer.NewHashQueueSelector()))
	var got inbox
	slowly := func(ctx context.Context, messages ...*primitive.MessageExt) (consumeResult, error) {
		time.Sleep(2 * time.Millisecond)
		return got.accept(ctx, messages...)
	}
	first := l.push(group, topic, everything, slowly, consumer.WithConsumerOrder(true))
	wanted := sendNumbered(l, p, topic, 8, 0, 20)
	l.eventually(20*time.Second, func() bool { return got.count() > len(wanted)/2 }, func() string { return fmt.Sprintf("the first member got %d of %d", got.count(), len(wanted)) })
	l.leave(first)
	wanted = append(wanted, sendNumbered(l, p, topic, 8, 20, 40)...)
	l.push(group, topic, everything, slowly, consumer.WithConsumerOrder(true))
	l.gets(&got, 60*time.Second, wanted)
	l.inOrder(&got)
}

func groupGrowsToThreeAndShrinksToTwo(l *lab) {
	topic, group, p := l.topic(8), l.group(), l.producer()
	var mutex sync.Mutex
	var wanted []string
	stop, stopped := make(chan struct{}), make(chan error, 1)
	go func() {
		for i := 0; i < 20000; i++ {
			select {
			case <-stop:
				stopped <- nil
				return
			case <-time.After(3 * time.Millisecond):
			}
			body := fmt.Sprint("steady-", i)
			if _, err := p.SendSync(context.Background(), primitive.NewMessage(topic, []byte(body))); err != nil {
				stopped <- err
				return
			}
			mutex.Lock()
			wanted = append(wanted, body)
			mutex.Unlock()
		}
		stopped <- fmt.Errorf("20000 messages and nobody stopped it")
	}()

	var all inbox
	members := make([]inbox, 3)
	join := func(i int) rocketmq.PushConsumer {
		return l.push(group, topic, everything, func(ctx context.Context, messages ...*primitive.MessageExt) (consumeResult, error) {
			members[i].add(messages...)
			return all.accept(ctx, messages...)
		})
	}
	getsMore := func(who string, in *inbox) {
		now := in.count()
		l.eventually(30*time.Second, func() bool { return in.count() > now+20 }, func() string { return who + " gets no messages" })
	}
	first := join(0)
	getsMore("the only member", &members[0])
	join(1)
	join(2)
	getsMore("the second member", &members[1])
	getsMore("the third member", &members[2])
	getsMore("the first of three members", &members[0])
	// The client says no farewell (code 35): the broker must notice the closed connection and tell the others.
	l.leave(first)
	left := members[0].count()
	getsMore("the second of two members", &members[1])
	getsMore("the third of two members", &members[2])
	close(stop)
	l.must("steady producer", <-stopped)
	mutex.Lock()
	defer mutex.Unlock()
	l.gets(&all, 30*time.Second, wanted)
	l.check(members[0].count() == left, "a member got messages after it had left")
}

func broadcastReachesEveryMember(l *lab) {
	topic, group, p := l.topic(3), l.group(), l.producer()
	members := make([]inbox, 3)
	for i := range members {
		l.push(group, topic, everything, members[i].accept, consumer.WithConsumerModel(consumer.BroadCasting))
	}
	wanted := l.sendMany(p, topic, "to all", 100)
	for i := range members {
		l.getsExactly(&members[i], 20*time.Second, wanted)
	}
}

// Only a broadcast group begins where it asks to on a young topic: it keeps its offsets itself, so no broker answers for it.
func broadcastStartsFirstLastOrAtATime(l *lab) {
	topic, p := l.topic(2), l.producer()
	early := l.sendMany(p, topic, "early", 20)
	time.Sleep(3500 * time.Millisecond)
	// The client reads its text as UTC, whole seconds. 5.x finds the first message after this time, 4.9 the nearest: the same one.
	at := time.Now().UTC()
	middle := l.sendMany(p, topic, "middle", 20)

	start := func(where consumer.ConsumeFromWhere) *inbox {
		in := new(inbox)
		l.push(l.group(), topic, everything, in.accept, consumer.WithConsumerModel(consumer.BroadCasting),
			consumer.WithConsumeFromWhere(where), consumer.WithConsumeTimestamp(at.Format("20060102150405")))
		return in
	}
	fromFirst, fromTime, fromLast := start(consumer.ConsumeFromFirstOffset), start(consumer.ConsumeFromTimestamp), start(consumer.ConsumeFromLastOffset)
	l.gets(fromFirst, 20*time.Second, append(append([]string{}, early...), middle...))
	l.gets(fromTime, 20*time.Second, middle)
	time.Sleep(3 * time.Second) // the start offset is asked for in the background; nothing tells when
	late := l.sendMany(p, topic, "late", 20)
	l.getsExactly(fromFirst, 20*time.Second, append(append(append([]string{}, early...), middle...), late...))
	l.getsExactly(fromTime, 20*time.Second, append(append([]string{}, middle...), late...))
	l.getsExactly(fromLast, 20*time.Second, late)
}

// A broker answers "offset 0" to a new group while the first message of the queue is in memory, whatever the group asks for.
func youngTopicIsReadFromItsBeginning(l *lab) {
	topic, p := l.topic(2), l.producer()
	early := l.sendMany(p, topic, "early", 20)
	for _, where := range []consumer.ConsumeFromWhere{consumer.ConsumeFromFirstOffset, consumer.ConsumeFromTimestamp, consumer.ConsumeFromLastOffset} {
		var got inbox
		l.push(l.group(), topic, everything, got.accept, consumer.WithConsumeFromWhere(where))
		l.getsExactly(&got, 20*time.Second, early)
	}
}

func tagFilter(l *lab) {
	topic, p := l.topic(2), l.producer()
	// "AaAa" and "BBBB" have the same hash, by which the broker filters; the client compares the text.
	want := map[string]bool{"AaAa": true, "TagC": true}
	var wanted []string
	for i := 0; i < 60; i++ {
		tag := []string{"AaAa", "BBBB", "TagC", "TagD", ""}[i%5]
		body := fmt.Sprintf("%s message %d", tag, i)
		l.send(p, primitive.NewMessage(topic, []byte(body)).WithTag(tag))
		if want[tag] {
			wanted = append(wanted, body)
		}
	}
	var got inbox
	l.push(l.group(), topic, tags("AaAa || TagC"), got.accept)
	l.getsExactly(&got, 20*time.Second, wanted)
}

func sqlFilter(l *lab) {
	topic, p := l.topic(2), l.producer()
	var wanted []string
	for i := 0; i < 60; i++ {
		body := fmt.Sprint("message ", i)
		message := primitive.NewMessage(topic, []byte(body)).WithTag([]string{"even", "odd"}[i%2])
		message.WithProperty("n", fmt.Sprint(i))
		if i%7 == 0 {
			message.WithProperty("region", "it's")
		}
		l.send(p, message)
		if i >= 10 && i <= 20 && i%2 == 0 || i%7 == 0 && i > 50 {
			wanted = append(wanted, body)
		}
	}
	var got inbox
	expression := "n BETWEEN 10 AND 20 AND TAGS = 'even' OR region IN ('x', 'it''s') AND n > 50"
	l.push(l.group(), topic, consumer.MessageSelector{Type: consumer.SQL92, Expression: expression}, got.accept)
	l.getsExactly(&got, 20*time.Second, wanted)
}

func retryThenDeadLetter(l *lab) {
	const retries = 3
	topic, group, p := l.topic(1), l.group(), l.producer()
	type attempt struct {
		at        time.Time
		reconsume int32
		topic     string
	}
	var mutex sync.Mutex
	var attempts []attempt
	failing := func(_ context.Context, messages ...*primitive.MessageExt) (consumeResult, error) {
		mutex.Lock()
		defer mutex.Unlock()
		attempts = append(attempts, attempt{time.Now(), messages[0].ReconsumeTimes, messages[0].Topic})
		return consumer.ConsumeRetryLater, nil
	}
	// The client asks for the route of its retry topic when it starts and then every 30 s, but the topic is made by its first
	// heartbeat, right after the first question. A second start finds it.
	start := func() rocketmq.PushConsumer {
		return l.push(group, topic, everything, failing, consumer.WithMaxReconsumeTimes(retries))
	}
	first := start()
	l.eventually(10*time.Second, func() bool { return len(l.queues("%RETRY%"+group)) == 1 }, func() string { return "no retry topic after the first heartbeat" })
	l.must("shutdown", first.Shutdown())
	start()

	l.send(p, primitive.NewMessage(topic, []byte("cannot be digested")).WithKeys([]string{"bad"}))
	tried := func() []attempt {
		mutex.Lock()
		defer mutex.Unlock()
		return append([]attempt{}, attempts...)
	}
	l.eventually(40*time.Second, func() bool { return len(tried()) == retries+1 }, func() string { return fmt.Sprintf("%d of %d attempts", len(tried()), retries+1) })
	all := tried()
	// Levels 3, 4, 5 of interop/server: 1 s, 2 s, 3 s.
	for i, a := range all {
		l.check(a.reconsume == int32(i), "attempt %d says it is attempt %d", i, a.reconsume)
		l.check(a.topic == topic, "attempt %d comes under the topic %s", i, a.topic)
		if i > 0 {
			waited := a.at.Sub(all[i-1].at)
			l.check(waited > time.Duration(i)*time.Second-5*time.Millisecond, "attempt %d after only %v", i, waited)
			l.check(waited < time.Duration(i)*time.Second+5*time.Second, "attempt %d after %v", i, waited)
		}
	}

	dead := "%DLQ%" + group
	l.eventually(20*time.Second, func() bool { return len(l.queues(dead)) == 1 }, func() string { return "no dead letter topic" })
	var letters inbox
	l.push(l.group(), dead, everything, letters.accept)
	l.getsExactly(&letters, 20*time.Second, []string{"cannot be digested"})
	m := letters.messages()[0]
	l.check(m.GetKeys() == "bad" && m.GetProperty(primitive.PropertyRetryTopic) == topic, "dead letter with properties %v", m.GetProperties())
	time.Sleep(2 * time.Second)
	l.check(len(tried()) == retries+1, "a dead letter was delivered again")
}

// The offsets that a stopping client sends are often lost: it closes the connection while answers are unread, and the reset
// that follows discards what the broker has not read. So this waits for the regular write, 10 s after the start.
func offsetsKeptOverClientRestart(l *lab) {
	topic, group, p := l.topic(4), l.group(), l.producer()
	for round := 0; round < 2; round++ {
		start := time.Now()
		wanted := l.sendMany(p, topic, fmt.Sprint("round ", round), 40)
		var got inbox
		c := l.push(group, topic, everything, got.accept)
		l.getsExactly(&got, 9*time.Second, wanted)
		time.Sleep(time.Until(start.Add(12 * time.Second)))
		l.must("shutdown", c.Shutdown())
	}
}

func pullFromAnyOffset(l *lab) {
	topic, p := l.topic(1), l.producer()
	wanted := l.sendMany(p, topic, "pulled", 100)
	queue := l.queues(topic)[0]
	c := l.pull(l.group(), topic)
	from := func(offset int64, numbers int) *primitive.PullResult {
		result, err := c.PullFrom(context.Background(), queue, offset, numbers)
		l.must(fmt.Sprint("pull from ", offset), err)
		return result
	}
	for _, offset := range []int64{0, 42, 7, 99} {
		result := from(offset, 10)
		messages := result.GetMessageExts()
		l.check(result.Status == primitive.PullFound && len(messages) > 0, "pull from %d: status %v, %d messages", offset, result.Status, len(messages))
		l.check(result.MinOffset == 0 && result.MaxOffset == 100, "offsets %d to %d", result.MinOffset, result.MaxOffset)
		l.check(result.NextBeginOffset == offset+int64(len(messages)), "pull from %d: %d messages, next %d", offset, len(messages), result.NextBeginOffset)
		for i, m := range messages {
			l.check(m.QueueOffset == offset+int64(i) && string(m.Body) == wanted[m.QueueOffset], "pull from %d gave %q at %d", offset, m.Body, m.QueueOffset)
		}
	}
	beyond := from(5000, 10)
	l.check(beyond.Status == primitive.PullOffsetIllegal && beyond.NextBeginOffset == 100, "pull beyond the end: status %v, next %d", beyond.Status, beyond.NextBeginOffset)

	// At the end the broker holds the pull until something arrives.
	go func() {
		time.Sleep(time.Second)
		_, _ = p.SendSync(context.Background(), primitive.NewMessage(topic, []byte("what it waited for")))
	}()
	start := time.Now()
	held := from(100, 10)
	waited := time.Since(start)
	// Woken by arrival the client sees the message in the same answer.
	l.check(held.Status == primitive.PullFound && len(held.GetMessageExts()) == 1, "held pull: status %v", held.Status)
	l.check(waited > 900*time.Millisecond && waited < 3*time.Second, "held pull answered after %v", waited)
}

func pullConsumerSeeksAndCommits(l *lab) {
	topic, group, p := l.topic(1), l.group(), l.producer()
	wanted := l.sendMany(p, topic, "committed", 50)
	queue := l.queues(topic)[0]

	first := l.pull(group, topic)
	l.must("update offset", first.UpdateOffset(queue, 30))
	var at int64
	l.eventually(20*time.Second, func() bool {
		// Only queues that the rebalance has assigned are persisted.
		_ = first.UpdateOffset(queue, 30)
		_ = first.PersistOffset(context.Background(), topic)
		other := l.pull(group, topic)
		at, _ = other.CurrentOffset(queue)
		_ = other.Shutdown()
		return at == 30
	}, func() string { return fmt.Sprintf("the committed offset is %d and not 30", at) })
	l.must("shutdown", first.Shutdown())

	second := l.pull(group, topic)
	result, err := second.Pull(context.Background(), 10)
	l.must("pull", err)
	messages := result.GetMessageExts()
	l.check(len(messages) > 0 && string(messages[0].Body) == wanted[30], "a consumer that continues at 30 got %v", result)
}

func pullConsumerPollsAndAcknowledges(l *lab) {
	topic, group, p := l.topic(2), l.group(), l.producer()
	for _, prefix := range []string{"first", "second"} {
		l.pollsExactly(group, topic, l.sendMany(p, topic, prefix, 30))
	}
}

// pollsExactly is one life of a pull consumer that finds exactly these messages and commits them.
func (l *lab) pollsExactly(group, topic string, wanted []string) {
	c := l.pull(group, topic)
	var got inbox
	l.eventually(25*time.Second, func() bool {
		request, err := c.Poll(context.Background(), time.Second)
		if err == nil {
			got.add(request.GetMsgList()...)
			c.ACK(context.Background(), request, consumer.ConsumeSuccess)
		}
		return len(got.missing(wanted)) == 0
	}, func() string {
		return fmt.Sprintf("%d messages polled, %d of %d missing", got.count(), len(got.missing(wanted)), len(wanted))
	})
	l.check(got.count() == len(wanted), "%d messages polled and not %d", got.count(), len(wanted))
	l.must("persist", c.PersistOffset(context.Background(), topic))
	time.Sleep(500 * time.Millisecond) // the offsets travel one way, see offsetsKeptOverClientRestart
	l.must("shutdown", c.Shutdown())
}
