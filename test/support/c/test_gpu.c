/* The C interface of models on a GPU: test_gpu MODEL [other files, which must be refused].

   An app's own device whose functions are counted; a second device of our own with a pipeline cache; models on
   threads of their own. Says what differs and ends with 1, or prints one line for each refused file and "ok". */
#define VK_NO_PROTOTYPES
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <vulkan/vulkan_core.h>

#include "vulkan.h"

#define EXPECT(condition)                                                \
    do {                                                                 \
        if (!(condition)) {                                              \
            fprintf(stderr, "line %d: %s: %s\n", __LINE__, #condition, message); \
            exit(1);                                                     \
        }                                                                \
    } while (0)

static char message[ESPALIER_MESSAGE_BYTES];
static int submits, allocations, updates, recordings;
static VkResult submit_answer = VK_SUCCESS;
static PFN_vkGetInstanceProcAddr loader;
static PFN_vkQueueSubmit queue_submit;
static PFN_vkAllocateMemory allocate_memory;
static PFN_vkUpdateDescriptorSets update_sets;
static PFN_vkBeginCommandBuffer begin;

static VKAPI_ATTR VkResult VKAPI_CALL counted_submit(VkQueue queue, uint32_t count, const VkSubmitInfo *infos,
                                                     VkFence fence)
{
    submits++;
    return submit_answer == VK_SUCCESS ? queue_submit(queue, count, infos, fence) : submit_answer;
}

static VKAPI_ATTR VkResult VKAPI_CALL counted_allocate(VkDevice device, const VkMemoryAllocateInfo *info,
                                                       const VkAllocationCallbacks *callbacks, VkDeviceMemory *memory)
{
    allocations++;
    return allocate_memory(device, info, callbacks, memory);
}

static VKAPI_ATTR void VKAPI_CALL counted_update(VkDevice device, uint32_t writes, const VkWriteDescriptorSet *written,
                                                 uint32_t copies, const VkCopyDescriptorSet *copied)
{
    updates++;
    update_sets(device, writes, written, copies, copied);
}

static VKAPI_ATTR VkResult VKAPI_CALL counted_begin(VkCommandBuffer commands, const VkCommandBufferBeginInfo *info)
{
    recordings++;
    return begin(commands, info);
}

#define COUNT(asked, own, kept)                              \
    if (strcmp(name, #asked) == 0) {                         \
        kept = (PFN_##asked)loader(instance, name);          \
        return (PFN_vkVoidFunction)own;                      \
    }

static VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL counting(VkInstance instance, const char *name)
{
    COUNT(vkQueueSubmit, counted_submit, queue_submit)
    COUNT(vkAllocateMemory, counted_allocate, allocate_memory)
    COUNT(vkUpdateDescriptorSets, counted_update, update_sets)
    COUNT(vkBeginCommandBuffer, counted_begin, begin)
    return loader(instance, name);
}

#define TAKE(name) PFN_##name name = (PFN_##name)loader(instance, #name)

static espalier_gpu_app open_app(void)
{
    void *library = dlopen("libvulkan.so.1", RTLD_NOW);
    void *symbol = library == NULL ? NULL : dlsym(library, "vkGetInstanceProcAddr");
    memcpy(&loader, &symbol, sizeof loader);
    EXPECT(loader != NULL);
    VkInstance instance = NULL;
    const VkApplicationInfo about = {.sType = VK_STRUCTURE_TYPE_APPLICATION_INFO, .apiVersion = VK_API_VERSION_1_1};
    const VkInstanceCreateInfo info = {.sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO, .pApplicationInfo = &about};
    EXPECT(((PFN_vkCreateInstance)loader(NULL, "vkCreateInstance"))(&info, NULL, &instance) == VK_SUCCESS);
    TAKE(vkEnumeratePhysicalDevices);
    TAKE(vkCreateDevice);
    TAKE(vkGetDeviceQueue);
    VkPhysicalDevice physical = NULL;
    uint32_t one = 1;
    vkEnumeratePhysicalDevices(instance, &one, &physical);
    const float priority = 1;
    const VkDeviceQueueCreateInfo wanted = {.sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO, .queueCount = 1,
                                            .pQueuePriorities = &priority};
    const VkDeviceCreateInfo made = {.sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO, .queueCreateInfoCount = 1,
                                     .pQueueCreateInfos = &wanted};
    VkDevice device = NULL;
    EXPECT(vkCreateDevice(physical, &made, NULL, &device) == VK_SUCCESS);
    VkQueue queue = NULL;
    vkGetDeviceQueue(device, 0, 0, &queue);
    return (espalier_gpu_app){instance, physical, device, queue, (void (*)(void))counting, 0, 0};
}

static void close_app(const espalier_gpu_app *app)
{
    const VkInstance instance = (VkInstance)app->instance;
    TAKE(vkDestroyDevice);
    TAKE(vkDestroyInstance);
    vkDestroyDevice((VkDevice)app->device, NULL);
    vkDestroyInstance(instance, NULL);
}

/* One submit a run, and nothing else; a device that is lost in the middle is an error, and the next model works. */
static void test_app(const char *path)
{
    const espalier_gpu_app app = open_app();
    const espalier_gpu_options options = {.device = -1, .app = &app};
    espalier_gpu *gpu = NULL;
    EXPECT(espalier_gpu_create(&options, &gpu, message, sizeof message) == ESPALIER_OK);
    espalier_model *model = NULL;
    EXPECT(espalier_create_from_file_on(gpu, path, &model, message, sizeof message) == ESPALIER_OK);
    EXPECT(espalier_set_threads(model, 4) == ESPALIER_OK);
    EXPECT(espalier_reserve(model, 9) == ESPALIER_OK);
    submits = allocations = updates = recordings = 0;
    double error = 1;
    EXPECT(espalier_check(model, &error) == ESPALIER_OK);
    EXPECT(error <= 1e-4);
    EXPECT(submits == 1);
    EXPECT(allocations == 0);
    EXPECT(updates == 0);
    EXPECT(recordings == 0);
    submit_answer = VK_ERROR_DEVICE_LOST;
    EXPECT(espalier_check(model, NULL) == ESPALIER_DEVICE_LOST);
    EXPECT(strstr(espalier_last_error(model), "the device is lost") != NULL);
    espalier_destroy(model);
    submit_answer = VK_SUCCESS;
    EXPECT(espalier_create_from_file_on(gpu, path, &model, message, sizeof message) == ESPALIER_OK);
    EXPECT(espalier_check(model, NULL) == ESPALIER_OK);
    espalier_destroy(model);
    espalier_gpu_destroy(gpu);
    close_app(&app);
}

typedef struct work {
    espalier_gpu *gpu;
    const char *path;
    espalier_status status;
} work;

static void *check_several(void *argument)
{
    work *own = argument;
    espalier_model *model = NULL;
    own->status = espalier_create_from_file_on(own->gpu, own->path, &model, NULL, 0);
    for (int i = 0; i < 5 && own->status == ESPALIER_OK; i++)
        own->status = espalier_check(model, NULL);
    espalier_destroy(model);
    return NULL;
}

static void test_threads(const char *path, const char *cache)
{
    const espalier_gpu_options options = {.device = 0, .cache = cache, .timestamps = 1};
    espalier_gpu *gpu = NULL;
    EXPECT(espalier_gpu_create(&options, &gpu, message, sizeof message) == ESPALIER_OK);
    work works[3];
    pthread_t threads[3];
    for (int i = 0; i < 3; i++) {
        works[i] = (work){gpu, path, ESPALIER_OK};
        EXPECT(pthread_create(&threads[i], NULL, check_several, &works[i]) == 0);
    }
    for (int i = 0; i < 3; i++) {
        pthread_join(threads[i], NULL);
        EXPECT(works[i].status == ESPALIER_OK);
    }
    espalier_model *model = NULL;
    EXPECT(espalier_create_from_file_on(gpu, path, &model, message, sizeof message) == ESPALIER_OK);
    EXPECT(espalier_check(model, NULL) == ESPALIER_OK);
    double seconds[64], total = 0;
    const size_t count = espalier_label_count(model);
    EXPECT(count > 2 && count <= 64);
    EXPECT(espalier_profile(model, seconds, count) == ESPALIER_OK);
    for (size_t i = 0; i < count; i++)
        total += seconds[i];
    EXPECT(total > 0 && total < 600);
    espalier_destroy(model);
    espalier_gpu_destroy(gpu);
}

/* A cache that is there, that is damaged, and that cannot be written. */
static void test_cache(const char *path, const char *cache)
{
    test_threads(path, cache);
    test_threads(path, cache);
    FILE *file = fopen(cache, "r+b");
    EXPECT(file != NULL);
    fseek(file, 60, SEEK_SET);
    fputs("damaged", file);
    fclose(file);
    test_threads(path, cache);
    test_threads(path, "/nowhere/at/all");
}

static void test_refused(const char *path)
{
    const espalier_gpu_options options = {.device = 0};
    espalier_gpu *gpu = NULL;
    espalier_model *model = NULL;
    EXPECT(espalier_gpu_create(&options, &gpu, message, sizeof message) == ESPALIER_OK);
    const espalier_status status = espalier_create_from_file_on(gpu, path, &model, message, sizeof message);
    EXPECT(status != ESPALIER_OK);
    EXPECT(model == NULL);
    printf("%d %s\n", (int)status, message);
    espalier_gpu_destroy(gpu);
}

static void test_arguments(const char *path)
{
    const espalier_gpu_app nothing = {0};
    const espalier_gpu_options options = {.device = 0, .app = &nothing};
    espalier_gpu *gpu = NULL;
    espalier_model *model = NULL;
    EXPECT(espalier_gpu_create(&options, &gpu, message, sizeof message) == ESPALIER_INVALID_ARGUMENT);
    EXPECT(gpu == NULL);
    EXPECT(espalier_create_from_file_on(NULL, path, &model, message, sizeof message) == ESPALIER_INVALID_ARGUMENT);
    EXPECT(espalier_create_from_file_on(NULL, NULL, &model, message, sizeof message) == ESPALIER_INVALID_ARGUMENT);
    EXPECT(espalier_create_from_memory_on(NULL, path, 4, NULL, message, sizeof message) == ESPALIER_INVALID_ARGUMENT);
}

int main(int count, char **arguments)
{
    if (count < 3) {
        fprintf(stderr, "test_gpu MODEL CACHE [REFUSED...]\n");
        return 2;
    }
    const char *driver = getenv("ESPALIER_TEST_DRIVER"); /* stays loaded, so that its leaks have a name */
    if (driver != NULL)
        EXPECT(dlopen(driver, RTLD_NOW | RTLD_NODELETE) != NULL);
    test_arguments(arguments[1]);
    test_app(arguments[1]);
    test_cache(arguments[1], arguments[2]);
    for (int i = 3; i < count; i++)
        test_refused(arguments[i]);
    puts("ok");
    return 0;
}
