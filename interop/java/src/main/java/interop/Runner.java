package interop;

import interop.cases.*;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.stream.Collectors;
import java.util.stream.Stream;

/** Runs the cases, several at a time, and prints one line for each. Exit code 1 when one failed. */
public final class Runner {
    private static final int PARALLEL = 6;

    /** Those that wait longest first, so that the rest fills the time beside them. Behind those that only this version's client can do. */
    private static final List<Case> CASES = Stream.concat(Dialect.FURTHER_CASES.stream(), Stream.of(
        new OrderKeptWhileMembersJoinAndLeave(),
        new GroupGrowsToThreeAndShrinksToTwo(),
        new RetryThenDeadLetter(),
        new NamespacesKeepClientsApart(),
        new TagFilter(),
        new SqlFilter(),
        new OrderlyRetryHoldsTheQueueThenDeadLetter(),
        new BroadcastReachesEveryMember(),
        new TransactionsEndAsTheirProducersSay(),
        new AnotherProducerAnswersTheCheck(),
        new RequestIsAnswered(),
        new OffsetsKeptOverClientRestart(),
        new BroadcastStartsFirstLastOrAtATime(),
        new YoungTopicIsReadFromItsBeginning(),
        new DelayLevelIsNotEarly(),
        new TimerMessagesAreExact(),
        new SyncAsyncAndOneWaySend(),
        new EverythingOnAMessageRoundTrips(),
        new BatchBecomesSingleMessages(),
        new BatchTopicNumbersEveryMessage(),
        new LightQueuesAreRead(),
        new BodyAndPropertyLimits(),
        new CompressedBodyRoundTrips(),
        new ConcurrentPushConsumption(),
        new WaitingConsumerIsWokenAtOnce(),
        new OrderlyPushConsumption(),
        new LitePullAssignSeekCommit(),
        new LitePullSubscribe(),
        new PullByQueueOffset(),
        new QueryByKeyAndById(),
        new OffsetsByTime(),
        new AdminBasics(),
        new IllegalNamesAreRefused(),
        new OffsetsKeptOverBrokerRestart(),
        new OpenTransactionsSurviveBrokerRestart(),
        new RepeatedSendsAreStoredOnce(),
        new ClientSurvivesKill())).collect(Collectors.toList());

    public static void main(String[] names) throws Exception {
        List<String> known = CASES.stream().map(Runner::name).collect(Collectors.toList());
        for (String name : names) {
            if (!known.contains(name)) {
                System.err.println("no case " + name + "; there are: " + String.join(" ", known));
                System.exit(1);
            }
        }
        List<Case> chosen = CASES.stream().filter(c -> names.length == 0 || List.of(names).contains(name(c))).collect(Collectors.toList());

        int failed = 0;
        ExecutorService pool = Executors.newFixedThreadPool(PARALLEL);
        List<Future<Boolean>> together = new ArrayList<>();
        for (Case one : chosen) {
            if (!one.alone()) together.add(pool.submit(() -> passes(one)));
        }
        for (Future<Boolean> passed : together) {
            if (!passed.get()) failed++;
        }
        for (Case one : chosen) {
            if (one.alone() && !passes(one)) failed++;
        }
        System.out.println((chosen.size() - failed) + " passed, " + failed + " failed");
        System.exit(failed == 0 ? 0 : 1);
    }

    private static boolean passes(Case one) {
        long start = System.nanoTime();
        Lab lab = new Lab(name(one));
        String reason = null;
        CompletableFuture<Void> run = CompletableFuture.runAsync(() -> {
            try {
                one.run(lab);
            } catch (Throwable failure) {
                throw new java.util.concurrent.CompletionException(failure);
            }
        }, task -> new Thread(task, name(one)).start());
        try {
            run.get(one.secondsMax(), TimeUnit.SECONDS);
        } catch (TimeoutException late) {
            reason = "not finished after " + one.secondsMax() + " s";
        } catch (ExecutionException failure) {
            reason = describe(failure.getCause());
        } catch (InterruptedException stopped) {
            reason = "interrupted";
        }
        double seconds = (System.nanoTime() - start) / 1e9;
        synchronized (System.out) {
            if (reason == null) {
                System.out.println(String.format(Locale.ROOT, "ok  %s  %.1f", name(one), seconds));
            } else {
                System.out.println("FAIL " + name(one) + ": " + reason);
            }
        }
        lab.close();
        return reason == null;
    }

    /** What went wrong, and the line of the case where it did. */
    private static String describe(Throwable failure) {
        String what = failure instanceof Lab.Failed ? failure.getMessage() : failure.toString();
        for (StackTraceElement frame : failure.getStackTrace()) {
            if (frame.getClassName().startsWith("interop.cases.")) {
                return what.replace('\n', ' ') + "  (" + frame.getFileName() + ":" + frame.getLineNumber() + ")";
            }
        }
        return what.replace('\n', ' ');
    }

    private static String name(Case one) {
        return one.getClass().getSimpleName();
    }
}
