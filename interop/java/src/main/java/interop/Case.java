package interop;

/** One situation, told with the official client. It fails by throwing; the class name is the name on the command line. */
public interface Case {
    void run(Lab lab) throws Exception;

    /** Cases that stop or kill the server run by themselves, after all the others. */
    default boolean alone() {
        return false;
    }

    /** After this time it has failed. */
    default int secondsMax() {
        return 100;
    }
}
