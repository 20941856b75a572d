package interop;

import java.util.ArrayList;
import java.util.List;
import org.apache.rocketmq.client.producer.LocalTransactionState;
import org.apache.rocketmq.client.producer.TransactionListener;
import org.apache.rocketmq.client.producer.TransactionMQProducer;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

/**
 * Decides transactions by their bodies: commit…, rollback…, and unknown-commit… or unknown-rollback…, which are known when they
 * are checked.
 */
public final class Transacting implements TransactionListener {
    /** Does not know when asked either. */
    public volatile boolean silent;

    private final List<String> checked = new ArrayList<>();

    /** A producer of transactions in this group, started. Its heartbeats are short, so that it is asked soon. */
    public TransactionMQProducer producer(Lab lab, String group) throws Exception {
        TransactionMQProducer made = new TransactionMQProducer(group);
        made.setNamesrvAddr(Lab.NAMESRV);
        made.setInstanceName(lab.fresh("client"));
        made.setSendMsgTimeout(10_000);
        made.setHeartbeatBrokerInterval(1000);
        made.setTransactionListener(this);
        lab.whenClosed(made::shutdown);
        made.start();
        return made;
    }

    /** Bodies of the messages that a check was answered about, each once. */
    public synchronized List<String> checked() {
        return new ArrayList<>(checked);
    }

    @Override
    public LocalTransactionState executeLocalTransaction(Message message, Object argument) {
        return decide(Lab.text(message));
    }

    @Override
    public LocalTransactionState checkLocalTransaction(MessageExt message) {
        if (silent) return LocalTransactionState.UNKNOW;
        String body = Lab.text(message);
        synchronized (this) {
            if (!checked.contains(body)) checked.add(body);
        }
        return decide(body.replace("unknown-", ""));
    }

    private static LocalTransactionState decide(String body) {
        if (body.startsWith("commit")) return LocalTransactionState.COMMIT_MESSAGE;
        return body.startsWith("rollback") ? LocalTransactionState.ROLLBACK_MESSAGE : LocalTransactionState.UNKNOW;
    }
}
