/* A compiled model in C++: loaded from memory, proven on this machine, then one instance a thread on the same input:

       example++ net.espalier input.bin [INSTANCES] */
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <iterator>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "net.h" // espalier compile ... --name net --emit header -o net.h

namespace {

using Bytes = std::vector<char>;

constexpr std::align_val_t ALIGNMENT{64};

struct DeleteAligned {
    void operator()(char *memory) const { operator delete(memory, ALIGNMENT); }
};

// A file's bytes at a multiple of 64, so that models use the weights where they lie.
struct AlignedFile {
    explicit AlignedFile(const Bytes &bytes)
        : size(bytes.size()), data(static_cast<char *>(operator new(size, ALIGNMENT)))
    {
        std::copy(bytes.begin(), bytes.end(), data.get());
    }

    const std::size_t size;
    const std::unique_ptr<char, DeleteAligned> data;
};

// A model whose errors are exceptions. The file that it was made from must outlive it.
class Model {
public:
    Model(const espalier_code &code, const AlignedFile &file)
    {
        char message[ESPALIER_MESSAGE_BYTES];
        espalier_model *made = nullptr;
        if (espalier_create_from_memory(&code, file.data.get(), file.size, &made, message, sizeof message))
            throw std::runtime_error(message);
        model.reset(made);
    }

    double check()
    {
        double error = 0;
        must(espalier_check(model.get(), &error));
        return error;
    }

    std::vector<Bytes> run(const std::vector<Bytes> &inputs)
    {
        std::vector<espalier_const_buffer> sources;
        std::vector<espalier_buffer> targets;
        std::vector<Bytes> outputs(espalier_output_count(model.get()));
        for (const Bytes &input : inputs)
            sources.push_back({input.data(), input.size()});
        for (std::size_t i = 0; i < outputs.size(); i++) {
            outputs[i].resize(espalier_output(model.get(), i)->bytes);
            targets.push_back({outputs[i].data(), outputs[i].size()});
        }
        must(espalier_run(model.get(), sources.data(), sources.size(), targets.data(), targets.size()));
        return outputs;
    }

    // Inputs that lie one after another in `bytes`.
    std::vector<Bytes> split(const Bytes &bytes) const
    {
        std::vector<Bytes> inputs;
        auto at = bytes.begin();
        for (std::size_t i = 0; i < espalier_input_count(model.get()); i++) {
            const auto size = static_cast<std::ptrdiff_t>(espalier_input(model.get(), i)->bytes);
            if (bytes.end() - at < size)
                throw std::runtime_error("the input file is too short");
            inputs.emplace_back(at, at + size);
            at += size;
        }
        return inputs;
    }

private:
    void must(espalier_status status) const
    {
        if (status != ESPALIER_OK)
            throw std::runtime_error(espalier_last_error(model.get()));
    }

    struct Destroy {
        void operator()(espalier_model *model) const { espalier_destroy(model); }
    };
    std::unique_ptr<espalier_model, Destroy> model;
};

Bytes read(const char *path)
{
    std::ifstream file(path, std::ios::binary);
    if (!file)
        throw std::runtime_error(std::string("cannot open ") + path);
    return {std::istreambuf_iterator<char>(file), {}};
}

void work(const char *model_path, const char *input_path, std::size_t instances)
{
    const AlignedFile file(read(model_path));
    const Bytes input = read(input_path);
    std::vector<std::vector<Bytes>> results(instances);
    std::vector<std::exception_ptr> errors(instances);
    std::vector<std::thread> threads;
    std::printf("check passed: error %.1e of the largest output\n", Model(espalier_model_net, file).check());
    for (std::size_t i = 0; i < instances; i++)
        threads.emplace_back([&, i] {
            try {
                Model model(espalier_model_net, file); // all share the weights in `file`
                results[i] = model.run(model.split(input));
            } catch (...) {
                errors[i] = std::current_exception();
            }
        });
    for (std::thread &thread : threads)
        thread.join();
    for (const std::exception_ptr &error : errors)
        if (error)
            std::rethrow_exception(error);
    const bool same = std::all_of(results.begin(), results.end(), [&](const auto &r) { return r == results[0]; });
    std::printf("%zu instances, %s outputs\n", instances, same ? "equal" : "different");
    if (!same)
        throw std::runtime_error("outputs of one input must be equal to the bit");
}

} // namespace

int main(int count, char **arguments)
{
    try {
        if (count < 3)
            throw std::runtime_error("give net.espalier and input.bin");
        work(arguments[1], arguments[2], count > 3 ? std::strtoul(arguments[3], nullptr, 10) : 1);
        return 0;
    } catch (const std::exception &error) {
        std::fprintf(stderr, "example++: %s\n", error.what());
        return 1;
    }
}
