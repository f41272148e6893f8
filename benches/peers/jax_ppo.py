"""PPO on CartPole-v1 in JAX, in the shape of PureJaxRL, with the settings of one of our own configuration files:
prints environment steps a second, compilation not counted.

    jax_ppo.py CONFIG.toml STEPS

As in PureJaxRL environments (gymnax's), acting, advantages and updates are one compiled program: a scan over
iterations, in it a scan over steps, one backwards for the advantages, and one over epochs and minibatches. Losses,
schedule, gradient clip and initial weights are PureJaxRL's too. It is no package, and needs distrax; hence this file.
"""

import sys
import time
import tomllib
from functools import partial
from typing import NamedTuple

import gymnax
import jax
import jax.numpy as jnp
import optax
from jax.nn.initializers import orthogonal


class Transition(NamedTuple):
    observation: jax.Array
    action: jax.Array
    log_probability: jax.Array
    value: jax.Array
    reward: jax.Array
    done: jax.Array


def network(key, sizes, last_gain):
    """Weights `[in, out]` and biases of each layer."""
    keys = jax.random.split(key, len(sizes) - 1)
    gains = [2**0.5] * (len(sizes) - 2) + [last_gain]
    return [
        (orthogonal(gain)(key, shape), jnp.zeros(shape[1]))
        for key, gain, shape in zip(keys, gains, zip(sizes, sizes[1:]))
    ]


def forward(layers, activation, x):
    """`[..., out]` of observations `[..., in]`."""
    for weights, biases in layers[:-1]:
        x = activation(x @ weights + biases)
    weights, biases = layers[-1]
    return x @ weights + biases


def training(config, total_steps):
    """The function from a key to the parameters and each iteration's mean length of episodes."""
    agent, shape = config["agent"], config.get("network", {})
    copies, steps = config["env"]["num_envs"], agent["rollout_steps"]
    batch = copies * steps
    iterations, minibatches = total_steps // batch, batch // agent["minibatch_size"]
    rate, clip = agent["learning_rate"], agent["clip_range"]
    activation = {"tanh": jnp.tanh, "relu": jax.nn.relu}[shape.get("activation", "tanh")]
    hidden = shape.get("hidden", [64, 64])
    env, parameters = gymnax.make("CartPole-v1")
    reset = jax.vmap(env.reset, (0, None))
    step = jax.vmap(env.step, (0, 0, 0, None))
    updates = iterations * agent["epochs"] * minibatches
    optimizer = optax.chain(
        optax.clip_by_global_norm(agent["max_grad_norm"]),
        optax.adam(optax.linear_schedule(rate["start"], rate["end"], updates), eps=1e-5),
    )

    def policy_and_value(networks, observation):
        actor, critic = networks
        logits = jax.nn.log_softmax(forward(actor, activation, observation))
        return logits, forward(critic, activation, observation)[..., 0]

    def of_action(logits, action):
        return jnp.take_along_axis(logits, action[..., None], -1)[..., 0]

    def act(networks, carry, key):
        observation, state = carry
        sample_key, step_key = jax.random.split(key)
        logits, value = policy_and_value(networks, observation)
        action = jax.random.categorical(sample_key, logits)
        keys = jax.random.split(step_key, copies)
        following, state, reward, terminated, truncated, _ = step(keys, state, action, parameters)
        log_probability = of_action(logits, action)
        done = terminated | truncated
        transition = Transition(observation, action, log_probability, value, reward, done)
        return (following, state), transition

    def advantage(carry, transition):
        following_advantage, following_value = carry
        left = agent["gamma"] * (1 - transition.done)
        delta = transition.reward + left * following_value - transition.value
        result = delta + left * agent["gae_lambda"] * following_advantage
        return (result, transition.value), result

    def loss(networks, minibatch):
        old, advantages, returns = minibatch
        logits, value = policy_and_value(networks, old.observation)
        clipped = old.value + jnp.clip(value - old.value, -agent["value_clip_range"], agent["value_clip_range"])
        value_loss = 0.5 * jnp.maximum((value - returns) ** 2, (clipped - returns) ** 2).mean()
        ratio = jnp.exp(of_action(logits, old.action) - old.log_probability)
        advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
        gain = jnp.minimum(ratio * advantages, jnp.clip(ratio, 1 - clip, 1 + clip) * advantages).mean()
        entropy = -(jnp.exp(logits) * logits).sum(-1).mean()
        return agent["value_coef"] * value_loss - gain - agent["entropy_coef"] * entropy

    def descend(carry, minibatch):
        networks, moments = carry
        changes, moments = optimizer.update(jax.grad(loss)(networks, minibatch), moments)
        return (optax.apply_updates(networks, changes), moments), None

    def epoch(samples, carry, key):
        order = jax.random.permutation(key, batch)
        shuffled = jax.tree.map(lambda x: x[order].reshape(minibatches, -1, *x.shape[1:]), samples)
        return jax.lax.scan(descend, carry, shuffled)

    def iteration(carry, key):
        networks, moments, acting = carry
        act_key, shuffle_key = jax.random.split(key)
        acting, rollout = jax.lax.scan(partial(act, networks), acting, jax.random.split(act_key, steps))
        _, last = policy_and_value(networks, acting[0])
        _, advantages = jax.lax.scan(advantage, (jnp.zeros(copies), last), rollout, reverse=True, unroll=16)
        samples = (rollout, advantages, advantages + rollout.value)
        samples = jax.tree.map(lambda x: x.reshape(batch, *x.shape[2:]), samples)
        keys = jax.random.split(shuffle_key, agent["epochs"])
        (networks, moments), _ = jax.lax.scan(partial(epoch, samples), (networks, moments), keys)
        return (networks, moments, acting), batch / jnp.maximum(rollout.done.sum(), 1)

    def train(key):
        actor_key, critic_key, reset_key, key = jax.random.split(key, 4)
        inputs, outputs = env.observation_space(parameters).shape[0], env.action_space(parameters).n
        actor = network(actor_key, [inputs, *hidden, outputs], 0.01)
        networks = (actor, network(critic_key, [inputs, *hidden, 1], 1.0))
        acting = reset(jax.random.split(reset_key, copies), parameters)
        carry = (networks, optimizer.init(networks), acting)
        (networks, _, _), lengths = jax.lax.scan(iteration, carry, jax.random.split(key, iterations))
        return networks, lengths

    return train, iterations * batch


def main():
    path, steps = sys.argv[1:]
    with open(path, "rb") as file:
        config = tomllib.load(file)
    train, total = training(config, int(steps))
    key = jax.random.key(config["seed"])
    compiled = jax.jit(train).lower(key).compile()
    started = time.perf_counter()
    _, lengths = jax.block_until_ready(compiled(key))
    print(f"{total / (time.perf_counter() - started):.0f}")
    print(f"{lengths[-10:].mean():.0f} steps an episode at the end, jax {jax.__version__}", file=sys.stderr)


if __name__ == "__main__":
    main()
