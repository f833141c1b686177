// The secret that keeps clients from aiming at a slot of a table or a bucket of the connection table.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include <tl/expected.hpp>

namespace linimo {

/// 64 bits out of the file's bytes (16 bytes or more, readable by its owner only). The same file gives the
/// same seed on every node. The error says what is wrong and how to put it right.
tl::expected<uint64_t, std::string> load_hash_seed(const std::filesystem::path& file);

/// Nodes compare it to see whether their seeds are equal; it does not tell the seed.
uint32_t hash_seed_check(uint64_t seed);

}  // namespace linimo
