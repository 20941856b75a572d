package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/admin"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
)

// A lab has the clients, names and checks of one case. All names are fresh, every client it hands out is closed with it.
type lab struct {
	name    string
	run     string
	namesrv primitive.NamesrvAddr

	mutex   sync.Mutex
	made    int
	closing []func() error
}

func newLab(name string) *lab {
	return &lab{name: name, run: strconv.FormatInt(time.Now().UnixNano()/1e6, 36), namesrv: strings.Split(os.Getenv("NAMESRV_ADDR"), ";")}
}

// ---- checks --------------------------------------------------------------------------------------------------------------

type failure string

// outcome runs a case and gives the reason of its failure, or nothing.
func (l *lab) outcome(run func(*lab)) (reason string) {
	defer func() {
		switch problem := recover().(type) {
		case nil:
		case failure:
			reason = string(problem)
		default:
			reason = fmt.Sprint("panic: ", problem)
		}
	}()
	run(l)
	return ""
}

func (l *lab) fail(format string, values ...interface{}) {
	where := ""
	for depth := 1; depth < 6; depth++ {
		if _, file, line, ok := runtime.Caller(depth); ok && filepath.Base(file) != "lab.go" {
			where = fmt.Sprintf("  (%s:%d)", filepath.Base(file), line)
			break
		}
	}
	panic(failure(strings.ReplaceAll(fmt.Sprintf(format, values...), "\n", " ") + where))
}

func (l *lab) check(holds bool, format string, values ...interface{}) {
	if !holds {
		l.fail(format, values...)
	}
}

func (l *lab) must(what string, err error) {
	if err != nil {
		l.fail("%s: %v", what, err)
	}
}

// eventually waits until something holds; what tells the reader what did not.
func (l *lab) eventually(patience time.Duration, holds func() bool, what func() string) {
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			l.fail("after %v: %s", patience, what())
		}
	}
}

// ---- names ---------------------------------------------------------------------------------------------------------------

// fresh gives a name nobody used before, for a topic that does not exist yet, a group or a client.
func (l *lab) fresh(kind string) string {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	l.made++
	return fmt.Sprintf("go-%s-%s-%s%d", l.name, l.run, kind, l.made)
}

func (l *lab) group() string { return l.fresh("group") }

// topic makes a new topic with this many queues and waits until the nameserver knows it.
func (l *lab) topic(queues int) string {
	topic := l.fresh("topic")
	l.createTopic(topic, queues)
	return topic
}

func (l *lab) createTopic(topic string, queues int) {
	a := l.admin()
	err := a.CreateTopic(l.within(10), admin.WithTopicCreate(topic), admin.WithBrokerAddrCreate(l.brokerAddr()),
		admin.WithReadQueueNums(queues), admin.WithWriteQueueNums(queues))
	l.must("create topic "+topic, err)
	// The client does not look at the code of that answer, so only the route tells.
	found := 0
	l.eventually(10*time.Second, func() bool { found = len(l.queues(topic)); return found == queues },
		func() string {
			return fmt.Sprintf("topic %s has %d queues in its route and not %d", topic, found, queues)
		})
}

// queues asks the nameserver anew each time: a client keeps the first answer.
func (l *lab) queues(topic string) []*primitive.MessageQueue {
	a, err := l.newAdmin()
	l.must("admin", err)
	defer a.Close()
	queues, _ := a.FetchPublishMessageQueues(l.within(5), topic)
	return queues
}

var brokerAddr string

// brokerAddr is where the broker says it is: address and port are part of the id it gives to a message.
func (l *lab) brokerAddr() string {
	if brokerAddr == "" {
		// A server that has just started may not have told the nameserver yet.
		p := l.producer()
		var sent *primitive.SendResult
		var err error
		l.eventually(20*time.Second, func() bool {
			sent, err = p.SendSync(context.Background(), primitive.NewMessage("TBW102", []byte("where are you")))
			return err == nil
		}, func() string { return fmt.Sprint("no answer to a first message: ", err) })
		id, err := primitive.UnmarshalMsgID([]byte(sent.OffsetMsgID))
		l.must("offset message id "+sent.OffsetMsgID, err)
		brokerAddr = fmt.Sprintf("%s:%d", id.Addr, id.Port)
	}
	return brokerAddr
}

// ---- clients -------------------------------------------------------------------------------------------------------------

func (l *lab) within(seconds int) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(seconds)*time.Second)
	l.closeLater(func() error { cancel(); return nil })
	return ctx
}

func (l *lab) closeLater(f func() error) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	l.closing = append(l.closing, f)
}

func (l *lab) close() {
	for len(l.closing) > 0 {
		last := len(l.closing) - 1
		_ = l.closing[last]()
		l.closing = l.closing[:last]
	}
}

func (l *lab) newAdmin() (admin.Admin, error) {
	return admin.NewAdmin(admin.WithResolver(primitive.NewPassthroughResolver(l.namesrv)))
}

func (l *lab) admin() admin.Admin {
	a, err := l.newAdmin()
	l.must("admin", err)
	l.closeLater(a.Close)
	return a
}

func (l *lab) producer(options ...producer.Option) rocketmq.Producer {
	p, err := rocketmq.NewProducer(append([]producer.Option{producer.WithNameServer(l.namesrv), producer.WithGroupName(l.group()),
		producer.WithInstanceName(l.fresh("client")), producer.WithRetry(2)}, options...)...)
	l.must("producer", err)
	l.must("producer start", p.Start())
	l.closeLater(p.Shutdown)
	return p
}

// send sends synchronously and expects to be told SEND_OK.
func (l *lab) send(p rocketmq.Producer, messages ...*primitive.Message) *primitive.SendResult {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	sent, err := p.SendSync(ctx, messages...)
	l.must("send to "+messages[0].Topic, err)
	l.check(sent.Status == primitive.SendOK, "send status %v", sent.Status)
	return sent
}

// sendMany sends as many messages with the bodies prefix-0, prefix-1, …
func (l *lab) sendMany(p rocketmq.Producer, topic, prefix string, count int) (bodies []string) {
	for i := 0; i < count; i++ {
		body := fmt.Sprintf("%s-%d", prefix, i)
		l.send(p, primitive.NewMessage(topic, []byte(body)))
		bodies = append(bodies, body)
	}
	return bodies
}

type handler = func(context.Context, ...*primitive.MessageExt) (consumer.ConsumeResult, error)

var everything = consumer.MessageSelector{Type: consumer.TAG, Expression: "*"}

func tags(expression string) consumer.MessageSelector {
	return consumer.MessageSelector{Type: consumer.TAG, Expression: expression}
}

// push starts a push consumer that reads from the first message unless the options say otherwise.
func (l *lab) push(group, topic string, selector consumer.MessageSelector, f handler, options ...consumer.Option) rocketmq.PushConsumer {
	c, err := rocketmq.NewPushConsumer(append([]consumer.Option{consumer.WithNameServer(l.namesrv), consumer.WithGroupName(group),
		consumer.WithInstance(l.fresh("client")), consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset)}, options...)...)
	l.must("push consumer", err)
	l.must("subscribe", c.Subscribe(topic, selector, f))
	l.must("push consumer start", c.Start())
	l.closeLater(c.Shutdown)
	return c
}

func (l *lab) pull(group, topic string) rocketmq.PullConsumer {
	c, err := rocketmq.NewPullConsumer(consumer.WithNameServer(l.namesrv), consumer.WithGroupName(group),
		consumer.WithInstance(l.fresh("client")), consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset))
	l.must("pull consumer", err)
	l.must("subscribe", c.Subscribe(topic, everything))
	l.must("pull consumer start", c.Start())
	l.closeLater(c.Shutdown)
	return c
}

// leave takes a consumer out of its group while messages arrive. The client closes a channel that its own pull may still
// write to, which ends the process; a suspended consumer has no such pull after a moment.
func (l *lab) leave(c rocketmq.PushConsumer) {
	c.Suspend()
	time.Sleep(time.Second)
	l.must("shutdown", c.Shutdown())
}

// server runs interop/server.
func (l *lab) server(what string) {
	said, err := exec.CommandContext(l.within(80), os.Getenv("INTEROP_SERVER"), what).CombinedOutput()
	l.check(err == nil, "interop/server %s: %v: %s", what, err, said)
}

// ---- what consumers got --------------------------------------------------------------------------------------------------

// An inbox keeps what one or more consumers were given, in the order of arrival.
type inbox struct {
	mutex sync.Mutex
	all   []*primitive.MessageExt
}

// accept is the handler that keeps everything and is content.
func (in *inbox) accept(_ context.Context, messages ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
	in.add(messages...)
	return consumer.ConsumeSuccess, nil
}

func (in *inbox) add(messages ...*primitive.MessageExt) {
	in.mutex.Lock()
	defer in.mutex.Unlock()
	in.all = append(in.all, messages...)
}

func (in *inbox) messages() []*primitive.MessageExt {
	in.mutex.Lock()
	defer in.mutex.Unlock()
	return append([]*primitive.MessageExt{}, in.all...)
}

func (in *inbox) count() int {
	in.mutex.Lock()
	defer in.mutex.Unlock()
	return len(in.all)
}

func (in *inbox) bodies() map[string]int {
	bodies := map[string]int{}
	for _, m := range in.messages() {
		bodies[string(m.Body)]++
	}
	return bodies
}

// missing gives those of the wanted bodies that have not arrived.
func (in *inbox) missing(wanted []string) (missing []string) {
	bodies := in.bodies()
	for _, body := range wanted {
		if bodies[body] == 0 {
			missing = append(missing, body)
		}
	}
	return missing
}

// gets waits until all of these bodies have arrived, at least once each.
func (l *lab) gets(in *inbox, patience time.Duration, wanted []string) {
	l.eventually(patience, func() bool { return len(in.missing(wanted)) == 0 }, func() string {
		missing := in.missing(wanted)
		return fmt.Sprintf("%d of %d messages missing, first %s", len(missing), len(wanted), missing[0])
	})
}

// getsExactly waits until all have arrived, and a moment longer: nothing twice, nothing else.
func (l *lab) getsExactly(in *inbox, patience time.Duration, wanted []string) {
	l.gets(in, patience, wanted)
	time.Sleep(500 * time.Millisecond)
	l.check(in.count() == len(wanted), "%d messages arrived and not %d", in.count(), len(wanted))
}
