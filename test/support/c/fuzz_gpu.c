/* Damages a GPU's program in many ways and reads each: fuzz_gpu CODE ROUNDS. Sanitizers watch; prints how many were
   refused. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vulkan_code.h"

static uint32_t state = 1;

static uint32_t next(void)
{
    state ^= state << 13;
    state ^= state >> 17;
    state ^= state << 5;
    return state;
}

int main(int count, char **arguments)
{
    FILE *file = count == 3 ? fopen(arguments[1], "rb") : NULL;
    if (file == NULL)
        return 2;
    fseek(file, 0, SEEK_END);
    const size_t size = (size_t)ftell(file);
    rewind(file);
    uint8_t *whole = malloc(size), *damaged = malloc(size);
    if (whole == NULL || damaged == NULL || fread(whole, 1, size, file) != size)
        return 2;
    fclose(file);
    int refused = 0;
    for (int round = 0; round < atoi(arguments[2]); round++) {
        const size_t kept = round % 3 == 0 ? next() % size : size; /* truncated, or with changed bytes */
        const size_t head = size < 600 ? size : 600;               /* where counts and sizes are */
        uint8_t *copy = malloc(kept + 1);                          /* its own, so that reading on is seen */
        if (copy == NULL)
            return 2;
        memcpy(damaged, whole, size);
        for (uint32_t change = next() % 4; change > 0; change--)
            damaged[next() % head] = (uint8_t)next();
        memcpy(copy, damaged, kept);
        espalier_vulkan_code code;
        char message[ESPALIER_MESSAGE_BYTES] = "";
        const espalier_status status = espalier_vulkan_code_read((espalier_bytes){copy, kept}, &code, message);
        refused += status != ESPALIER_OK;
        if ((status == ESPALIER_OK) != (message[0] == 0))
            return 1;
        espalier_vulkan_code_free(&code);
        free(copy);
    }
    printf("%d\n", refused);
    free(whole);
    free(damaged);
    return 0;
}
