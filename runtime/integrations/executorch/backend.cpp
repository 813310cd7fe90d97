/* ExecuTorch's delegate for what Espalier compiled ahead of time ("EspalierBackend").

   A delegate's payload is a compiled-model file as `espalier compile` writes it, whose member `code` is a shared
   library for the device. The library is loaded from memory (memfd), the weights are used where ExecuTorch has them;
   where it has them at no multiple of 64 bytes, they are copied and ExecuTorch's are freed.

   Option `num_threads` (0: one a fast core), by falling precedence: a runtime spec of the load, `set_option` before
   it, the partitioner's compile spec, 1.

   Errors are logged (ET_LOG) in one line. No exceptions, no RTTI. */
#include <dlfcn.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>

#include <executorch/runtime/backend/interface.h>
#include <executorch/runtime/core/event_tracer_hooks_delegate.h>
#include <executorch/runtime/core/exec_aten/util/dim_order_util.h>
#include <executorch/runtime/platform/log.h>
#include <executorch/runtime/platform/platform.h>

extern "C" {
#include "archive.h"
#include "espalier.h"
}

namespace {

using executorch::aten::ScalarType;
using executorch::runtime::ArrayRef;
using executorch::runtime::BackendExecutionContext;
using executorch::runtime::BackendInitContext;
using executorch::runtime::BackendOption;
using executorch::runtime::BackendOptionContext;
using executorch::runtime::CompileSpec;
using executorch::runtime::DelegateHandle;
using executorch::runtime::Error;
using executorch::runtime::EValue;
using executorch::runtime::EventTracer;
using executorch::runtime::FreeableBuffer;
using executorch::runtime::Result;
using executorch::runtime::Span;

constexpr char NAME[] = "EspalierBackend";
constexpr char THREADS[] = "num_threads";
constexpr char CODE[] = "espalier_model_model";  // as frontends/executorch/backend.py names it
constexpr std::uintptr_t ALIGNMENT = 64;         // at which the runtime uses a file where it lies
constexpr int UNSET = -1;
std::atomic<int> threads_option{UNSET};

/* ExecuTorch's name of each espalier_dtype. */
constexpr ScalarType TYPES[] = {
    ScalarType::Undefined, ScalarType::Float, ScalarType::Double, ScalarType::Half, ScalarType::Char,
    ScalarType::Short, ScalarType::Int, ScalarType::Long, ScalarType::Byte, ScalarType::UInt16, ScalarType::UInt32,
    ScalarType::UInt64, ScalarType::Bool};

Error fail(Error error, const char* message) {
  ET_LOG(Error, "espalier: %s", message);
  return error;
}

Error out_of_memory() {
  return fail(Error::MemoryAllocationFailed, "no memory for the delegate");
}

/* A shared library from memory. Its file stays open as long: the system knows a library by its path, and would take
   another of the same descriptor for the one that it has. */
class Library {
 public:
  Library() = default;
  Library(const Library&) = delete;
  Library& operator=(const Library&) = delete;
  ~Library() {
    if (handle_ != nullptr) dlclose(handle_);
    if (descriptor_ >= 0) close(descriptor_);
  }

  Error load(const espalier_bytes& code) {
    constexpr unsigned close_on_exec = 1;
    descriptor_ = static_cast<int>(syscall(SYS_memfd_create, "espalier-model", close_on_exec));
    for (size_t at = 0; descriptor_ >= 0 && at < code.size;) {
      const ssize_t written = write(descriptor_, code.data + at, code.size - at);
      if (written <= 0) return fail(Error::AccessFailed, "the code cannot be written to memory");
      at += static_cast<size_t>(written);
    }
    char path[64];
    std::snprintf(path, sizeof path, "/proc/self/fd/%d", descriptor_);
    handle_ = descriptor_ < 0 ? nullptr : dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (handle_ != nullptr) return Error::Ok;
    const char* reason = descriptor_ < 0 ? "the system gives no file in memory" : dlerror();
    ET_LOG(Error, "espalier: the code does not load here: %s", reason);
    return Error::DelegateInvalidCompatibility;
  }

  const espalier_code* code() const {
    return static_cast<const espalier_code*>(dlsym(handle_, CODE));
  }

 private:
  void* handle_ = nullptr;
  int descriptor_ = UNSET;
};

/* One compiled sub-graph, ready to run. */
class Delegate {
 public:
  Delegate() = default;
  Delegate(const Delegate&) = delete;
  Delegate& operator=(const Delegate&) = delete;
  ~Delegate() {
    espalier_destroy(model_);
  }

  Error load(FreeableBuffer& processed, int threads) {
    char message[ESPALIER_MESSAGE_BYTES];
    const espalier_bytes file = {static_cast<const std::uint8_t*>(processed.data()), processed.size()};
    espalier_bytes code;
    if (espalier_archive_check(file, message) != ESPALIER_OK ||
        espalier_archive_read(file, "code", &code, message) != ESPALIER_OK)
      return fail(Error::DelegateInvalidCompatibility, message);
    const Error loaded = library_.load(code);
    if (loaded != Error::Ok) return loaded;
    if (library_.code() == nullptr) return fail(Error::DelegateInvalidCompatibility, "the code exports no model");
    if (espalier_create_from_memory(library_.code(), file.data, file.size, &model_, message, sizeof message) !=
        ESPALIER_OK)
      return fail(Error::DelegateInvalidCompatibility, message);
    if (reinterpret_cast<std::uintptr_t>(file.data) % ALIGNMENT != 0) processed.Free();
    if (threads < 0 || espalier_set_threads(model_, static_cast<unsigned>(threads)) != ESPALIER_OK)
      return fail(Error::InvalidArgument, threads < 0 ? "num_threads is negative" : espalier_last_error(model_));
    return prepare();
  }

  Error run(Span<EValue*> arguments, EventTracer* tracer) {
    const size_t inputs = espalier_input_count(model_), outputs = espalier_output_count(model_);
    if (arguments.size() != inputs + outputs)
      return fail(Error::InvalidArgument, "another number of inputs and outputs than the model's");
    for (size_t i = 0; i < inputs + outputs; i++) {
      const Error taken = take(i, *arguments[i]);
      if (taken != Error::Ok) return taken;
    }
    for (size_t i = 0; i < inputs; i++) inputs_[i] = {buffers_[i].data, buffers_[i].bytes};
    const et_timestamp_t begin = et_pal_current_ticks();
    if (espalier_run(model_, inputs_.get(), inputs, buffers_.get() + inputs, outputs) != ESPALIER_OK)
      return fail(Error::Internal, espalier_last_error(model_));
    return tracer == nullptr ? Error::Ok : trace(*tracer, begin);
  }

 private:
  Error prepare() {
    const size_t inputs = espalier_input_count(model_), count = inputs + espalier_output_count(model_);
    inputs_.reset(new (std::nothrow) espalier_const_buffer[inputs + 1]);
    buffers_.reset(new (std::nothrow) espalier_buffer[count + 1]);
    seconds_.reset(new (std::nothrow) double[espalier_label_count(model_) + 1]);
    if (!inputs_ || !buffers_ || !seconds_) return out_of_memory();
    for (size_t i = 0; i < count; i++)
      for (std::uint32_t k = 0; k < expected(i)->rank; k++)
        if (expected(i)->dims[k] < 0)
          return fail(Error::NotSupported, "the model has a free dimension; lower it with static shapes");
    return Error::Ok;
  }

  const espalier_tensor* expected(size_t index) const {
    const size_t inputs = espalier_input_count(model_);
    return index < inputs ? espalier_input(model_, index) : espalier_output(model_, index - inputs);
  }

  /* Takes argument `index`, input or output, once it is what the model expects. */
  Error take(size_t index, const EValue& value) {
    const espalier_tensor* wanted = expected(index);
    if (!value.isTensor()) {
      ET_LOG(Error, "espalier: argument %zu ('%s'): expected a tensor", index, wanted->name);
      return Error::InvalidArgument;
    }
    const executorch::aten::Tensor& tensor = value.toTensor();
    bool fits = tensor.scalar_type() == TYPES[wanted->dtype] && tensor.dim() == static_cast<ssize_t>(wanted->rank);
    for (ssize_t k = 0; fits && k < tensor.dim(); k++) fits = tensor.size(k) == wanted->dims[k];
    if (!fits) {
      ET_LOG(Error, "espalier: argument %zu ('%s'): another shape or dtype than the model's", index, wanted->name);
      return Error::InvalidArgument;
    }
    const auto order = tensor.dim_order();
    if (!executorch::runtime::is_contiguous_dim_order(order.data(), order.size())) {
      ET_LOG(Error, "espalier: argument %zu ('%s'): expected the last dimension closest", index, wanted->name);
      return Error::InvalidArgument;
    }
    void* data = const_cast<void*>(tensor.const_data_ptr());  // the code only reads inputs
    buffers_[index] = {data, tensor.nbytes()};
    return Error::Ok;
  }

  /* An event for each layer, one behind the other. */
  Error trace(EventTracer& tracer, et_timestamp_t begin) {
    const size_t count = espalier_label_count(model_);
    if (espalier_profile(model_, seconds_.get(), count) != ESPALIER_OK)
      return fail(Error::Internal, espalier_last_error(model_));
    const et_tick_ratio_t ratio = et_pal_ticks_to_ns_multiplier();
    const double ticks_a_second = 1e9 * static_cast<double>(ratio.denominator) / static_cast<double>(ratio.numerator);
    double start = 0, end = 0;
    for (size_t i = 0; i < count; i++) {
      end += seconds_[i];
      const char* label = espalier_label(model_, i);
      if (i + 1 < count && std::strcmp(label, espalier_label(model_, i + 1)) == 0) continue;
      executorch::runtime::event_tracer_log_profiling_delegate(
          &tracer, label, executorch::runtime::kUnsetDelegateDebugIntId,
          begin + static_cast<et_timestamp_t>(start * ticks_a_second),
          begin + static_cast<et_timestamp_t>(end * ticks_a_second));
      start = end;
    }
    return Error::Ok;
  }

  Library library_;  // goes last: the model runs its code
  espalier_model* model_ = nullptr;
  std::unique_ptr<espalier_const_buffer[]> inputs_;
  std::unique_ptr<espalier_buffer[]> buffers_;
  std::unique_ptr<double[]> seconds_;
};

class EspalierBackend final : public executorch::runtime::BackendInterface {
 public:
  bool is_available() const override {
    return true;
  }

  Result<DelegateHandle*> init(BackendInitContext& context, FreeableBuffer* processed,
                               ArrayRef<CompileSpec> specs) const override {
    std::unique_ptr<Delegate> delegate(new (std::nothrow) Delegate);
    if (!delegate) return out_of_memory();
    const Error loaded = delegate->load(*processed, threads(context, specs));
    if (loaded != Error::Ok) return loaded;
    return delegate.release();
  }

  Error execute(BackendExecutionContext& context, DelegateHandle* handle, Span<EValue*> arguments) const override {
    return static_cast<Delegate*>(handle)->run(arguments, context.event_tracer());
  }

  Error set_option(BackendOptionContext&, const Span<BackendOption>& options) override {
    for (const BackendOption& option : options) {
      const int* number = std::get_if<int>(&option.value);
      if (std::strcmp(option.key, THREADS) != 0 || number == nullptr)
        return fail(Error::InvalidArgument, "the only option is num_threads, an integer");
      threads_option = *number;
    }
    return Error::Ok;
  }

  void destroy(DelegateHandle* handle) const override {
    delete static_cast<Delegate*>(handle);
  }

 private:
  static int threads(BackendInitContext& context, ArrayRef<CompileSpec> specs) {
    const Result<int> given = context.get_runtime_spec<int>(THREADS);
    if (given.ok()) return *given;
    if (threads_option != UNSET) return threads_option;
    for (const CompileSpec& spec : specs) {
      char digits[8] = "";
      if (std::strcmp(spec.key, THREADS) != 0 || spec.value.nbytes >= sizeof digits) continue;
      std::memcpy(digits, spec.value.buffer, spec.value.nbytes);
      return std::atoi(digits);
    }
    return 1;
  }
};

EspalierBackend backend;
const Error registered = executorch::runtime::register_backend({NAME, &backend});

}  // namespace
