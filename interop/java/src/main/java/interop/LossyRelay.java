package interop;

import java.io.BufferedInputStream;
import java.io.BufferedOutputStream;
import java.io.Closeable;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.util.Deque;
import java.util.List;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentLinkedDeque;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.atomic.AtomicLong;

/**
 * Stands between a client and the servers: what the nameserver says about the broker leads here, and of the answers to sends that come
 * by some never arrive. The client is not told.
 */
public final class LossyRelay implements Closeable {
    /** SEND_MESSAGE, SEND_MESSAGE_V2, SEND_BATCH_MESSAGE. */
    private static final Set<Integer> SENDS = Set.of(10, 310, 320);
    /** The client gives a connection up when an answer does not come, and does not always close it: beyond these the oldest is cut. */
    private static final int CONNECTIONS_MAX = 50;
    private static final int BUFFER_BYTES = 16 << 10;

    private final ServerSocket names = new ServerSocket(0, 50, InetAddress.getLoopbackAddress());
    private final ServerSocket broker = new ServerSocket(0, 50, InetAddress.getLoopbackAddress());
    /** Of clients and servers in turn, the oldest first. */
    private final Deque<Socket> sockets = new ConcurrentLinkedDeque<>();
    private final AtomicLong lost = new AtomicLong();
    private final double lostShare;
    private final byte[] realPort;
    private final byte[] ourPort;

    /** @param brokerAddress as the nameserver gives it */
    public LossyRelay(String brokerAddress, double lostShare) throws IOException {
        this.lostShare = lostShare;
        int port = portOf(brokerAddress);
        realPort = (":" + port).getBytes(StandardCharsets.US_ASCII);
        ourPort = (":" + broker.getLocalPort()).getBytes(StandardCharsets.US_ASCII);
        Lab.check(realPort.length == ourPort.length, "ports %d and %d differ in length, and frames would too", port, broker.getLocalPort());
        accept(names, portOf(Lab.NAMESRV), false);
        accept(broker, port, true);
    }

    /** Where the client finds its nameserver. */
    public String nameserver() {
        return "127.0.0.1:" + names.getLocalPort();
    }

    /** Answers that did not arrive so far. */
    public long lost() {
        return lost.get();
    }

    @Override
    public void close() {
        for (Closeable one : List.of(names, broker)) closeQuietly(one);
        sockets.forEach(LossyRelay::closeQuietly);
    }

    private static int portOf(String address) {
        return Integer.parseInt(address.substring(address.lastIndexOf(':') + 1));
    }

    private void accept(ServerSocket from, int to, boolean isBroker) {
        start("relay-" + to, () -> {
            while (true) {
                Socket client = from.accept();
                Socket server;
                try {
                    server = new Socket(InetAddress.getLoopbackAddress(), to);
                } catch (IOException notThere) {
                    client.close();
                    continue;
                }
                sockets.addAll(List.of(client, server));
                for (Socket oldest; sockets.size() > 2 * CONNECTIONS_MAX && (oldest = sockets.poll()) != null; ) closeQuietly(oldest);
                Set<Integer> asked = ConcurrentHashMap.newKeySet();
                start("relay-requests", () -> pass(client, server, frame -> {
                    if (SENDS.contains(number(frame, "code"))) asked.add(number(frame, "opaque"));
                    return true;
                }));
                start("relay-answers", () -> pass(server, client, frame -> {
                    if (!isBroker) lead(frame);
                    boolean loses = asked.remove(number(frame, "opaque")) && ThreadLocalRandom.current().nextDouble() < lostShare;
                    if (loses && isBroker) lost.incrementAndGet();
                    return !(loses && isBroker);
                }));
            }
        });
    }

    private interface Steps {
        void run() throws IOException;
    }

    private interface Frames {
        /** Whether the frame is passed on. */
        boolean passes(byte[] frame);
    }

    private static void start(String name, Steps steps) {
        Thread thread = new Thread(() -> {
            try {
                steps.run();
            } catch (IOException closed) {
                // One side has gone; the other hears of it.
            }
        }, name);
        thread.setDaemon(true);
        thread.start();
    }

    private void pass(Socket from, Socket to, Frames frames) throws IOException {
        try (Socket in = from; Socket out = to) {
            DataInputStream reading = new DataInputStream(new BufferedInputStream(in.getInputStream(), BUFFER_BYTES));
            DataOutputStream writing = new DataOutputStream(new BufferedOutputStream(out.getOutputStream(), BUFFER_BYTES));
            while (true) {
                byte[] frame = new byte[reading.readInt()];
                reading.readFully(frame);
                if (frames.passes(frame)) {
                    writing.writeInt(frame.length);
                    writing.write(frame);
                }
                if (reading.available() == 0) writing.flush();
            }
        } finally {
            sockets.removeAll(List.of(from, to));
        }
    }

    /** A number of the frame's header, which is JSON with these clients; -1 if it is not there. */
    private static int number(byte[] frame, String name) {
        int length = (frame[1] & 0xff) << 16 | (frame[2] & 0xff) << 8 | frame[3] & 0xff;
        String header = new String(frame, 4, length, StandardCharsets.ISO_8859_1);
        // The header's own members stand behind the fields of the request, whose values are strings.
        int at = header.lastIndexOf("\"" + name + "\":");
        if (at < 0) return -1;
        int end = at += name.length() + 3;
        while (end < header.length() && (header.charAt(end) == '-' || Character.isDigit(header.charAt(end)))) end++;
        return end == at ? -1 : Integer.parseInt(header.substring(at, end));
    }

    /** Every address of the broker becomes ours. */
    private void lead(byte[] frame) {
        search:
        for (int i = 0; i + realPort.length <= frame.length; i++) {
            for (int k = 0; k < realPort.length; k++) if (frame[i + k] != realPort[k]) continue search;
            System.arraycopy(ourPort, 0, frame, i, ourPort.length);
        }
    }

    private static void closeQuietly(Closeable one) {
        try {
            one.close();
        } catch (IOException ignored) {
            // It is closed either way.
        }
    }
}
