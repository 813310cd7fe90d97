package org.espalier.example;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;

/**
 * A compiled model. One instance serves one call at a time; every failure is an IllegalStateException that
 * says what is wrong.
 */
public final class Model implements AutoCloseable {
    static {
        System.loadLibrary("net_jni");
    }

    private long handle;

    /** Maps the model file at {@code path}. */
    public Model(String path) {
        handle = create(null, path);
    }

    /**
     * Runs {@code gpuPath}, the same model compiled for Vulkan, where the device has a GPU that can, else
     * {@code path} on the processor; {@link #whyProcessor} says which.
     */
    public Model(String gpuPath, String path) {
        handle = create(gpuPath, path);
    }

    /** Null on a GPU; on the processor why it is that, empty where nobody asked for another. */
    public String whyProcessor() {
        return whyProcessor(open());
    }

    public void setThreads(int threads) {
        setThreads(open(), threads);
    }

    /** Replays the recorded run; returns the largest error as a share of the largest output. */
    public double check() {
        return check(open());
    }

    /** Room for input {@code index}, in the processor's byte order. */
    public ByteBuffer input(int index) {
        return room(false, index);
    }

    /** Room for output {@code index}, in the processor's byte order. */
    public ByteBuffer output(int index) {
        return room(true, index);
    }

    /** Runs on direct buffers, whole from their first byte. */
    public void run(ByteBuffer[] inputs, ByteBuffer[] outputs) {
        run(open(), inputs, outputs);
    }

    @Override
    public void close() {
        destroy(handle);
        handle = 0;
    }

    private long open() {
        if (handle == 0) {
            throw new IllegalStateException("the model is closed");
        }
        return handle;
    }

    private ByteBuffer room(boolean output, int index) {
        long bytes = bytes(open(), output, index);
        if (bytes < 0) {
            throw new IndexOutOfBoundsException("the model has no " + (output ? "output " : "input ") + index);
        }
        return ByteBuffer.allocateDirect((int) bytes).order(ByteOrder.nativeOrder());
    }

    private static native long create(String gpuPath, String path);

    private static native String whyProcessor(long handle);

    private static native void destroy(long handle);

    private static native void setThreads(long handle, int threads);

    private static native double check(long handle);

    private static native long bytes(long handle, boolean output, int index);

    private static native void run(long handle, ByteBuffer[] inputs, ByteBuffer[] outputs);
}
