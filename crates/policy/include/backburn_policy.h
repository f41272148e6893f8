/* A policy that Backburn exported (`trainer export --format safetensors`), for C and C++.
 *
 *     cargo rustc --release -p backburn-policy --features c --crate-type staticlib
 *     cc -I crates/policy/include crates/policy/examples/act.c target/release/libpolicy.a -lm -lpthread -ldl
 */
#ifndef BACKBURN_POLICY_H
#define BACKBURN_POLICY_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct backburn_policy backburn_policy;

/* The policy in a file's content. NULL if it is none; the reason is then in `message`, which has room for `size`
 * characters and may be NULL. Allocates memory; nothing but this does. */
backburn_policy *backburn_policy_read(const uint8_t *bytes, size_t length, char *message, size_t size);

/* Numbers in an observation, and in an action: 1 where an action is a choice. */
size_t backburn_policy_observation_width(const backburn_policy *policy);
size_t backburn_policy_action_width(const backburn_policy *policy);

/* Writes the action for an observation; of a choice its index. Returns 0; or 1 if a number of the observation is not
 * finite, or 2 if the observation is so large that the network overflows: `action` is left as it is then. A policy is
 * used by one thread at a time. */
int32_t backburn_policy_act(backburn_policy *policy, const float *observation, float *action);

/* Frees a policy, or does nothing with NULL. */
void backburn_policy_free(backburn_policy *policy);

#ifdef __cplusplus
}
#endif

#endif
