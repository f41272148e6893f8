/* Reads a policy, then observations as lines of numbers, and writes the actions.
 *
 *     act policy.safetensors < observations.txt
 */
#include "backburn_policy.h"

#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "give a policy's file\n");
        return 2;
    }
    FILE *file = fopen(argv[1], "rb");
    if (!file) {
        perror(argv[1]);
        return 2;
    }
    static uint8_t bytes[1 << 24];
    size_t length = fread(bytes, 1, sizeof bytes, file);
    fclose(file);

    char message[200];
    backburn_policy *policy = backburn_policy_read(bytes, length, message, sizeof message);
    if (!policy) {
        fprintf(stderr, "%s: %s\n", argv[1], message);
        return 2;
    }
    size_t width = backburn_policy_observation_width(policy);
    size_t action_width = backburn_policy_action_width(policy);
    float *observation = malloc(width * sizeof *observation);
    float *action = malloc(action_width * sizeof *action);
    if (!observation || !action) {
        return 1;
    }
    for (;;) {
        for (size_t i = 0; i < width; i++) {
            if (scanf("%f", &observation[i]) != 1) {
                free(observation);
                free(action);
                backburn_policy_free(policy);
                return i > 0;
            }
        }
        int32_t error = backburn_policy_act(policy, observation, action);
        if (error) {
            printf("error %d\n", (int)error);
            continue;
        }
        for (size_t i = 0; i < action_width; i++) {
            printf("%s%.9g", i ? " " : "", action[i]);
        }
        printf("\n");
    }
}
