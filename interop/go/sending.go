package main

import (
	"bytes"
	"context"
	"fmt"
	"math/rand"
	"strings"
	"sync"
	"time"

	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
)

func syncSend(l *lab) {
	topic, p := l.topic(1), l.producer()
	for i := int64(0); i < 50; i++ {
		sent := l.send(p, primitive.NewMessage(topic, []byte("one after the other")))
		l.check(sent.QueueOffset == i, "message %d got queue offset %d", i, sent.QueueOffset)
		l.check(sent.MsgID != "" && len(sent.OffsetMsgID) == 32, "ids %q and %q", sent.MsgID, sent.OffsetMsgID)
		l.check(sent.MessageQueue.QueueId == 0 && sent.MessageQueue.Topic == topic, "queue %v", sent.MessageQueue)
	}
}

func asyncSend(l *lab) {
	const count = 200
	topic, p := l.topic(4), l.producer()
	var mutex sync.Mutex
	var wanted []string
	var problem error
	answered := 0
	for i := 0; i < count; i++ {
		body := fmt.Sprint("async-", i)
		err := p.SendAsync(context.Background(), func(_ context.Context, sent *primitive.SendResult, err error) {
			mutex.Lock()
			defer mutex.Unlock()
			answered++
			if err != nil || sent.Status != primitive.SendOK {
				problem = fmt.Errorf("%s: %v %v", body, sent, err)
				return
			}
			wanted = append(wanted, body)
		}, primitive.NewMessage(topic, []byte(body)))
		l.must("send", err)
	}
	state := func() (int, error) {
		mutex.Lock()
		defer mutex.Unlock()
		return answered, problem
	}
	l.eventually(15*time.Second, func() bool { n, err := state(); return n == count || err != nil },
		func() string { n, _ := state(); return fmt.Sprintf("%d of %d sends answered", n, count) })
	_, err := state()
	l.must("answer", err)

	var got inbox
	l.push(l.group(), topic, everything, got.accept)
	l.getsExactly(&got, 20*time.Second, wanted)
}

func oneWaySend(l *lab) {
	const count = 100
	topic, p := l.topic(2), l.producer()
	var wanted []string
	for i := 0; i < count; i++ {
		body := fmt.Sprint("one way ", i)
		l.must("send one way", p.SendOneWay(context.Background(), primitive.NewMessage(topic, []byte(body))))
		wanted = append(wanted, body)
	}
	var got inbox
	l.push(l.group(), topic, everything, got.accept)
	l.getsExactly(&got, 20*time.Second, wanted)
}

func everythingOnAMessageRoundTrips(l *lab) {
	topic, p := l.topic(1), l.producer()
	body := "Grüße, 世界, 🚀 \x00\x01\x02 and a NUL before it"
	m := primitive.NewMessage(topic, []byte(body)).WithTag("Étiquette-标签").WithKeys([]string{"order-42", "客户-7"}).WithShardingKey("shard-é")
	m.Flag = 0x01020304
	m.WithProperty("city", "Zürich")
	m.WithProperty("名前", "値 with spaces; = : \" ' \\")
	before := time.Now().UnixNano() / 1e6
	sent := l.send(p, m)

	// Not filtered by its tag: the client hashes the UTF-8 bytes of a tag and brokers its UTF-16 units, so this one never matches.
	var got inbox
	l.push(l.group(), topic, everything, got.accept)
	l.getsExactly(&got, 20*time.Second, []string{body})
	r := got.messages()[0]
	l.check(r.Topic == topic, "topic %s", r.Topic)
	l.check(r.GetTags() == "Étiquette-标签", "tag %q", r.GetTags())
	l.check(r.GetKeys() == "order-42 客户-7", "keys %q", r.GetKeys())
	l.check(r.GetShardingKey() == "shard-é", "sharding key %q", r.GetShardingKey())
	l.check(r.Flag == m.Flag, "flag %#x", r.Flag)
	l.check(r.GetProperty("city") == "Zürich" && r.GetProperty("名前") == m.GetProperty("名前"), "properties %v", r.GetProperties())
	l.check(r.MsgId == sent.MsgID, "message id %s, the producer was told %s", r.MsgId, sent.MsgID)
	l.check(r.OffsetMsgId == sent.OffsetMsgID, "offset message id %s, the producer was told %s", r.OffsetMsgId, sent.OffsetMsgID)
	l.check(r.QueueOffset == sent.QueueOffset && r.ReconsumeTimes == 0, "queue offset %d, reconsume times %d", r.QueueOffset, r.ReconsumeTimes)
	l.check(r.BornTimestamp >= before && r.StoreTimestamp >= r.BornTimestamp, "sent at %d, born %d, stored %d", before, r.BornTimestamp, r.StoreTimestamp)
	l.check(strings.HasPrefix(r.StoreHost, l.brokerAddr()[:strings.LastIndex(l.brokerAddr(), ":")]), "store host %s, broker %s", r.StoreHost, l.brokerAddr())
}

func batchBecomesSingleMessages(l *lab) {
	topic, p := l.topic(1), l.producer()
	l.send(p, primitive.NewMessage(topic, []byte("before")))
	var batch []*primitive.Message
	wanted := []string{"before"}
	for i := 0; i < 20; i++ {
		body := fmt.Sprint("batch-", i)
		m := primitive.NewMessage(topic, []byte(body)).WithTag(fmt.Sprint("Tag", i%2))
		m.WithProperty("position", fmt.Sprint(i))
		batch = append(batch, m)
		wanted = append(wanted, body)
	}
	sent := l.send(p, batch...)
	l.check(sent.QueueOffset == 1, "the batch begins at queue offset %d", sent.QueueOffset)
	l.check(strings.Count(sent.OffsetMsgID, ",") == 19, "ids of 20 messages: %s", sent.OffsetMsgID)
	l.check(l.send(p, primitive.NewMessage(topic, []byte("after"))).QueueOffset == 21, "20 messages take 20 offsets")
	wanted = append(wanted, "after")

	var got inbox
	l.push(l.group(), topic, everything, got.accept)
	l.getsExactly(&got, 20*time.Second, wanted)
	ids := strings.Split(sent.OffsetMsgID, ",")
	for _, m := range got.messages() {
		if position := m.GetProperty("position"); position != "" {
			l.check(fmt.Sprint(m.QueueOffset-1) == position, "message %s of the batch is at queue offset %d", position, m.QueueOffset)
			l.check(m.GetTags() == fmt.Sprint("Tag", (m.QueueOffset-1)%2), "message %s has tag %q", position, m.GetTags())
			l.check(m.OffsetMsgId == ids[m.QueueOffset-1], "message %s has id %s, the producer was told %s", position, m.OffsetMsgId, ids[m.QueueOffset-1])
		}
	}
	var odd inbox
	l.push(l.group(), topic, tags("Tag1"), odd.accept)
	l.eventually(20*time.Second, func() bool { return odd.count() == 10 }, func() string { return fmt.Sprintf("%d of 10 messages with Tag1", odd.count()) })
}

const mib = 1 << 20

func bodyLimit(l *lab) {
	topic := l.topic(1)
	p := l.producer(producer.WithCompressMsgBodyOverHowmuch(16 * mib))
	// The Java broker counts the whole record in 4.9 and the body alone in 5.x; 1 KiB leaves room for the rest of the record.
	large := make([]byte, 4*mib-1024)
	rand.New(rand.NewSource(4)).Read(large)
	l.send(p, primitive.NewMessage(topic, large))

	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	_, err := p.SendSync(ctx, primitive.NewMessage(topic, make([]byte, 4*mib+1)))
	l.check(err != nil && strings.Contains(err.Error(), "CODE: 13"), "4 MiB and a byte must be refused with MESSAGE_ILLEGAL (13), got: %v", err)

	small := l.send(p, primitive.NewMessage(topic, []byte("the connection still works")))
	l.check(small.QueueOffset == 1, "the refused message took a queue offset: %d", small.QueueOffset)
	var got inbox
	l.push(l.group(), topic, everything, got.accept)
	l.getsExactly(&got, 30*time.Second, []string{string(large), "the connection still works"})
}

func compressedBodyRoundTrips(l *lab) {
	topic, p := l.topic(1), l.producer() // the client compresses from 4 KiB on
	text := bytes.Repeat([]byte("the quick brown fox jumps over the lazy dog. "), 4000)
	noise := make([]byte, 20000)
	rand.New(rand.NewSource(5)).Read(noise)
	exact := bytes.Repeat([]byte("x"), 4096)
	below := bytes.Repeat([]byte("y"), 4095)
	var wanted []string
	for _, body := range [][]byte{text, noise, exact, below} {
		l.send(p, primitive.NewMessage(topic, body))
		wanted = append(wanted, string(body))
	}
	var got inbox
	l.push(l.group(), topic, everything, got.accept)
	l.getsExactly(&got, 20*time.Second, wanted)
	for _, m := range got.messages() {
		if len(m.Body) == len(text) {
			l.check(int(m.StoreSize) < len(text)/10, "the text of %d bytes was stored in %d: not compressed", len(text), m.StoreSize)
		}
	}
}

func delayLevelIsNotEarly(l *lab) {
	topic, p := l.topic(2), l.producer()
	var mutex sync.Mutex
	arrived := map[string]time.Time{}
	var got inbox
	l.push(l.group(), topic, everything, func(ctx context.Context, messages ...*primitive.MessageExt) (consumeResult, error) {
		mutex.Lock()
		for _, m := range messages {
			arrived[string(m.Body)] = time.Now()
		}
		mutex.Unlock()
		return got.accept(ctx, messages...)
	})
	// interop/server sets messageDelayLevel=1s 1s 1s 2s 3s 4s 5s …
	due := map[string]time.Time{}
	var wanted []string
	for level, delay := range map[int]time.Duration{1: time.Second, 4: 2 * time.Second, 7: 5 * time.Second} {
		for i := 0; i < 5; i++ {
			body := fmt.Sprintf("level %d message %d", level, i)
			due[body] = time.Now().Add(delay)
			l.send(p, primitive.NewMessage(topic, []byte(body)).WithDelayTimeLevel(level))
			wanted = append(wanted, body)
		}
	}
	l.getsExactly(&got, 25*time.Second, wanted)
	mutex.Lock()
	defer mutex.Unlock()
	for body, at := range arrived {
		late := at.Sub(due[body])
		// The delay counts from the store time in whole milliseconds, this clock from before the send.
		l.check(late > -5*time.Millisecond, "%s came %v early", body, -late)
		l.check(late < 5*time.Second, "%s came %v late", body, late)
	}
	for _, m := range got.messages() {
		l.check(m.Topic == topic, "a delayed message came under the topic %s", m.Topic)
	}
}
