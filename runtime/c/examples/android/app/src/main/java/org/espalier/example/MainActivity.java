package org.espalier.example;

import android.app.Activity;
import android.os.Bundle;
import android.widget.TextView;

import java.io.File;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.nio.ByteBuffer;
import java.util.Arrays;

/** Proves the model on this device and shows how long it takes. */
public final class MainActivity extends Activity {
    private static final String MODEL = "net.espalier";
    private static final String GPU_MODEL = "net_gpu.espalier"; // of the flavour gpu
    private static final int THREADS = 4;
    private static final int RUNS = 20;

    @Override
    protected void onCreate(Bundle state) {
        super.onCreate(state);
        TextView view = new TextView(this);
        view.setText("running");
        setContentView(view);
        new Thread(() -> {
            String text = describe();
            runOnUiThread(() -> view.setText(text));
        }).start();
    }

    private String describe() {
        try (Model model = open()) {
            model.setThreads(THREADS);
            String reason = model.whyProcessor();
            String where = reason == null ? "GPU" : THREADS + " threads" + (reason.isEmpty() ? "" : ", no GPU: " + reason);
            double error = model.check();
            ByteBuffer[] inputs = {model.input(0)};
            ByteBuffer[] outputs = {model.output(0)};
            long best = Long.MAX_VALUE;
            for (int i = 0; i < RUNS; i++) {
                long begin = System.nanoTime();
                model.run(inputs, outputs);
                best = Math.min(best, System.nanoTime() - begin);
            }
            return String.format("check passed: error %.1e%n%.2f ms, best of %d, %s", error, best / 1e6, RUNS, where);
        } catch (IOException | IllegalStateException error) {
            return error.getMessage();
        }
    }

    /** The model, on a GPU where the app brings one for it and the device can. */
    private Model open() throws IOException {
        String path = unpack(MODEL).getPath();
        boolean hasGpuModel = Arrays.asList(getAssets().list("")).contains(GPU_MODEL);
        return hasGpuModel ? new Model(unpack(GPU_MODEL).getPath(), path) : new Model(path);
    }

    /** A model as a file of its own, which can be mapped; an asset lies inside the APK. */
    private File unpack(String name) throws IOException {
        File file = new File(getFilesDir(), name);
        try (InputStream asset = getAssets().open(name); OutputStream copy = new FileOutputStream(file)) {
            byte[] block = new byte[1 << 16];
            for (int count; (count = asset.read(block)) > 0; ) {
                copy.write(block, 0, count);
            }
        }
        return file;
    }
}
