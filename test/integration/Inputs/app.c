/* The smallest app: a model linked in, its file given, its recorded run checked. */
#include <stdio.h>

#include "net.h"

int main(int count, char **arguments)
{
    char message[ESPALIER_MESSAGE_BYTES];
    espalier_model *model = NULL;
    double error = 1;
    espalier_status status;
    if (count != 2)
        return 2;
    if (espalier_create_from_file(&espalier_model_net, arguments[1], &model, message, sizeof message)) {
        puts(message);
        return 1;
    }
    if (espalier_input(model, 0)->bytes != ESPALIER_NET_INPUT_0_BYTES)
        return 3;
    status = espalier_check(model, &error);
    printf("%u numbers in, %u out, error %.3e\n", ESPALIER_NET_INPUT_0_ELEMENTS, ESPALIER_NET_OUTPUT_0_ELEMENTS,
           error);
    espalier_destroy(model);
    return (int)status;
}
