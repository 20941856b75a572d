package interop;

import java.nio.file.Path;

/**
 * One leg of interop/store-roundtrip: what the clients of one broker do between its start and its stop. Its arguments: the ledger, a
 * file that tells the next leg what there must be, and the number of the leg; then what the program itself wants.
 */
abstract class Leg {
    final Path ledger;
    final int leg;
    final Lab lab = Lab.of(getClass().getSimpleName());

    Leg(String[] arguments) {
        ledger = Path.of(arguments[0]);
        leg = Integer.parseInt(arguments[1]);
    }

    abstract void run() throws Exception;

    /** Runs the leg, says what went wrong, and ends this process. */
    final void runAndExit() {
        int failed = 1;
        try {
            run();
            failed = 0;
        } catch (Throwable problem) {
            System.out.println("FAIL leg " + leg + ": " + problem);
            if (!(problem instanceof Lab.Failed)) problem.printStackTrace(System.out);
        }
        lab.close();
        // Client threads that linger must not keep the script waiting.
        System.exit(failed);
    }
}
