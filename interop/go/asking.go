package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
)

// A request finds a consumer, whose reply is pushed to the one who asked.
func requestIsAnswered(l *lab) {
	topic, replier := l.topic(1), l.producer()
	l.push(l.group(), topic, everything, func(_ context.Context, messages ...*primitive.MessageExt) (consumeResult, error) {
		for _, m := range messages {
			if string(m.Body) == "silence" {
				continue
			}
			reply, err := consumer.CreateReplyMessage(m, nil)
			if err == nil {
				// The client takes the body of the reply for its properties.
				reply.Body = []byte("re: " + string(m.Body))
				_, _ = replier.SendSync(context.Background(), reply)
			}
		}
		return consumer.ConsumeSuccess, nil
	})
	asker := l.producer()
	ask := func(question string, patience time.Duration) (string, error) {
		answer, err := asker.Request(context.Background(), patience, primitive.NewMessage(topic, []byte(question)))
		if err != nil {
			return "", err
		}
		return string(answer.Body), nil
	}
	// The broker pushes a reply to a client that it knows from a heartbeat, and the consumer takes its queue with a rebalance.
	var problem error
	l.eventually(40*time.Second, func() bool { _, problem = ask("warm up", 2*time.Second); return problem == nil },
		func() string { return fmt.Sprint("no first answer: ", problem) })
	for i := 0; i < 20; i++ {
		question := fmt.Sprint("question ", i)
		answer, err := ask(question, 10*time.Second)
		l.must(question, err)
		l.check(answer == "re: "+question, "%s was answered %q", question, answer)
	}
	_, err := ask("silence", 2*time.Second)
	l.check(err != nil, "silence was answered")
}

// What the client says about its sends and consumptions is in the trace topic.
func tracesTellOfSendAndConsumption(l *lab) {
	topic, traces := l.topic(1), l.topic(1)
	config := func() *primitive.TraceConfig {
		return &primitive.TraceConfig{TraceTopic: traces, GroupName: l.group(), Access: primitive.Local,
			NamesrvAddrs: l.namesrv, Resolver: primitive.NewPassthroughResolver(l.namesrv)}
	}
	p := l.producer(producer.WithTrace(config()))
	sent := l.send(p, primitive.NewMessage(topic, []byte("traced")).WithKeys([]string{"traced-key"}))
	group := l.group()
	var got inbox
	l.push(group, topic, everything, got.accept, consumer.WithTrace(config()))
	l.getsExactly(&got, 20*time.Second, []string{"traced"})

	var mutex sync.Mutex
	var told strings.Builder
	l.push(l.group(), traces, everything, func(_ context.Context, messages ...*primitive.MessageExt) (consumeResult, error) {
		mutex.Lock()
		defer mutex.Unlock()
		for _, m := range messages {
			told.Write(m.Body)
			told.WriteByte('\n')
		}
		return consumer.ConsumeSuccess, nil
	})
	all := func() string { mutex.Lock(); defer mutex.Unlock(); return told.String() }
	l.eventually(30*time.Second, func() bool {
		text := all()
		return strings.Contains(text, "Pub\x01") && strings.Contains(text, "SubBefore\x01") && strings.Contains(text, "SubAfter\x01") &&
			strings.Count(text, sent.MsgID) >= 2 && strings.Contains(text, group)
	}, func() string { return fmt.Sprintf("message %s is not told of in %q", sent.MsgID, all()) })
}

// Clients in two namespaces use the same names for topic and group and see nothing of each other.
func namespacesKeepClientsApart(l *lab) {
	topic, group := l.fresh("topic"), l.group()
	boxes := map[string]*inbox{l.fresh("ns"): {}, l.fresh("ns"): {}}
	for namespace, box := range boxes {
		l.createTopic(namespace+"%"+topic, 1)
		p := l.producer(producer.WithNamespace(namespace))
		l.push(group, topic, everything, box.accept, consumer.WithNamespace(namespace))
		for i := 0; i < 10; i++ {
			l.send(p, primitive.NewMessage(topic, []byte(fmt.Sprint(namespace, " ", i))))
		}
	}
	for namespace, box := range boxes {
		var wanted []string
		for i := 0; i < 10; i++ {
			wanted = append(wanted, fmt.Sprint(namespace, " ", i))
		}
		l.getsExactly(box, 30*time.Second, wanted)
	}
}
