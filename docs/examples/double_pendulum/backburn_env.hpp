// Speaks the protocol of Backburn's docs/process.md: serves copies of an environment to the trainer that has started
// this program. Header only, C++17, for systems with Unix sockets and bytes in little-endian order.
#pragma once

#include <poll.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <thread>
#include <vector>

namespace backburn {

// What a step led to; the observation is read afterwards.
struct Step {
    double reward = 0.0;
    bool terminated = false;  // the task is over: nothing can be earned any more
    bool truncated = false;   // the episode is cut short although the task goes on
    bool success = false;
};

// One copy of an environment.
class Environment {
public:
    virtual ~Environment() = default;
    virtual void reset(std::uint32_t seed) = 0;
    // A discrete action is its index, as one number.
    virtual Step step(const float* action) = 0;
    virtual void observe(float* observation) const = 0;
    // What the next steps depend on, for hellos with "state": true.
    virtual std::vector<double> state() const { return {}; }
    virtual void set_state(const std::vector<double>&) {}
    // Terms of the last reward, then costs of the last step, in the order of the hello.
    virtual std::vector<double> terms_and_costs() const { return {}; }
};

namespace detail {

enum Kind : std::uint32_t { error, hello, reset, step, state, set_state, frame };

struct Header {
    char magic[4];
    std::uint32_t kind, number, length;
};

inline bool receive(void* to, std::size_t count) {
    auto* at = static_cast<char*>(to);
    while (count > 0) {
        const ssize_t some = ::read(0, at, count);
        if (some <= 0) return false;
        at += some;
        count -= static_cast<std::size_t>(some);
    }
    return true;
}

inline bool send(std::uint32_t kind, std::uint32_t number, const std::string& payload) {
    const Header header{{'B', 'B', 'R', 'N'}, kind, number, static_cast<std::uint32_t>(payload.size())};
    std::string message(reinterpret_cast<const char*>(&header), sizeof header);
    message += payload;
    for (std::size_t sent = 0; sent < message.size();) {
        // The socket is stdin: both sides write on it.
        const ssize_t some = ::write(0, message.data() + sent, message.size() - sent);
        if (some <= 0) return false;
        sent += static_cast<std::size_t>(some);
    }
    return true;
}

template <class Number>
void append(std::string& payload, const std::vector<Number>& numbers) {
    payload.append(reinterpret_cast<const char*>(numbers.data()), numbers.size() * sizeof(Number));
}

// Ends this program when the trainer is gone, whatever it is doing then.
inline void end_with_the_trainer() {
    std::thread([] {
        pollfd watch{0, 0, 0};  // a hang-up is always told
        while (::poll(&watch, 1, -1) <= 0) {
        }
        std::this_thread::sleep_for(std::chrono::seconds(1));
        std::_Exit(1);
    }).detach();
}

}  // namespace detail

// Serves copies of `E` until the trainer closes the socket. `hello` is the JSON of the first message; `observation` and
// `action` are the numbers of each (1 for a discrete action), `terms` those of `terms_and_costs`, of which the first
// `reward_terms` are terms of the reward. Returns what `main` should.
template <class E>
int serve(const std::string& hello, std::size_t observation, std::size_t action, std::size_t reward_terms = 0,
          std::size_t costs = 0) {
    using namespace detail;
    std::vector<std::unique_ptr<Environment>> copies;
    const auto copy = [&](std::uint32_t index) -> Environment& {
        while (copies.size() <= index) copies.push_back(std::make_unique<E>());
        return *copies[index];
    };
    end_with_the_trainer();
    if (!detail::send(Kind::hello, 0, hello)) return 1;
    Header header{};
    std::vector<char> payload;
    while (receive(&header, sizeof header)) {
        payload.resize(header.length);
        if (!receive(payload.data(), payload.size())) return 1;
        std::string answer;
        const auto word = [&](std::size_t index) {
            std::uint32_t value;
            std::memcpy(&value, payload.data() + 4 * index, 4);
            return value;
        };
        switch (header.kind) {
            case Kind::reset: {
                const std::size_t count = payload.size() / 8;
                std::vector<float> observations(count * observation);
                for (std::size_t i = 0; i < count; ++i) {
                    copy(word(i)).reset(word(count + i));
                    copy(word(i)).observe(&observations[i * observation]);
                }
                append(answer, observations);
                break;
            }
            case Kind::step: {
                const std::size_t count = payload.size() / (4 + 4 * action);
                std::vector<float> actions(count * action), observations(count * observation);
                std::memcpy(actions.data(), payload.data() + 4 * count, 4 * actions.size());
                std::vector<double> rewards(count), terms, all_costs;
                std::string flags(count, '\0');
                for (std::size_t i = 0; i < count; ++i) {
                    Environment& environment = copy(word(i));
                    const Step step = environment.step(&actions[i * action]);
                    rewards[i] = step.reward;
                    flags[i] = static_cast<char>(step.terminated | step.truncated << 1 | step.success << 2);
                    environment.observe(&observations[i * observation]);
                    if (reward_terms + costs > 0) {
                        const std::vector<double> both = environment.terms_and_costs();
                        const auto middle = both.begin() + static_cast<std::ptrdiff_t>(reward_terms);
                        terms.insert(terms.end(), both.begin(), middle);
                        all_costs.insert(all_costs.end(), middle, both.end());
                    }
                }
                append(answer, rewards);
                append(answer, terms);
                append(answer, all_costs);
                append(answer, observations);
                answer += flags;
                break;
            }
            case Kind::state:
                append(answer, copy(word(0)).state());
                break;
            case Kind::set_state: {
                std::vector<double> numbers((payload.size() - 4) / 8);
                std::memcpy(numbers.data(), payload.data() + 4, 8 * numbers.size());
                copy(word(0)).set_state(numbers);
                std::vector<float> observed(observation);
                copy(word(0)).observe(observed.data());
                append(answer, observed);
                break;
            }
            default:
                header.kind = Kind::error;
                answer = "a request of a kind that is not known here";
        }
        if (!detail::send(header.kind, header.number, answer)) return 1;
    }
    return 0;
}

}  // namespace backburn
