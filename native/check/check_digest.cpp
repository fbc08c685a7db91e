// MD5, SHA-1 and SHA-256 in one pass: known answers, and the same answer wherever in memory the message lies. Messages
// have their exact size, so that a sanitizer sees a byte too far.
#include <cstring>
#include <memory>

#include "check.h"

#if defined(__x86_64__) || defined(_M_X64)
extern "C" int custodes_has_sha(void);
extern "C" void custodes_digests(const uint8_t*, int64_t, uint8_t*);

namespace {

constexpr size_t ANSWER = 68;

struct Known {
    size_t size;
    const char* answer;
};

// Of messages whose byte i is 31 * i + 7, modulo 256; as hashlib of Python 3.11 gives them.
constexpr Known KNOWN[] = {
    {0,
     "d41d8cd98f00b204e9800998ecf8427eda39a3ee5e6b4b0d3255bfef95601890afd80709"
     "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
    {1,
     "89e74e640b8c46257a29de0616794d5d5d1be7e9dda1ee8896be5b7e34a85ee16452a7b4"
     "ca358758f6d27e6cf45272937977a748fd88391db679ceda7dc7bf1f005ee879"},
    {3,
     "3b704fb2660febf62921a0caaa8de56bd2df16b976a43628c63ea246436fccf6d7635d09"
     "647674a296197442f518bcca323ec605dd8d098b2d4f22ee1fdcdd2bb753a189"},
    {55,
     "c9e512626618c9980ef21a96597af94c749bbefb28edc4638b28b2b9a9e03ab9a4032b90"
     "8aa994584139d128848eeebc4e815639ba5ab6e6e39574195a63ac4f14f7c43b"},
    {56,
     "ecde7caa08e9f5657c863df107cac60aa5b6e9c29d201c774753ff8e7fb64931656f5e63"
     "ad574708f75c044c9b85de64cb568ee7711ff4f36448c6242f053ba8f6cc2b63"},
    {63,
     "2f0301069e1c40af7f6c8f843b1b13f2d1a454409359fc372b4d22b3cea6488d6ba1be00"
     "280ed3e8ff1df845b2e7dfe6ac6cee817bef20e783cc65abc41b818b4d2fe076"},
    {64,
     "b6bf87c24b1bc334e2541387a92b981b39a0d8b645ad85f1f976731ed112ac9455e28b78"
     "c6ab9724ade5b6a7a1edfffb12f3aa9181351355af8fd08c919952ad211339dd"},
    {65,
     "f168246f08b6134d66bd2a10343fa9f1d0c96e18890114a14716e9686528d2e3fdba8d9e"
     "788367c73c7ddf4c53f65e68cc0d943e6227ab55b0e78ba63ace822b1c6301c0"},
    {119,
     "d5dc3d8264de3aa24dee105910ee27fe562ecf8a430f8e1056e3619bae33628e9a1d0a4e"
     "3d610547d68216dedf7435a4fb6260353911f6b3fd3f18805ddb8be285d726fe"},
    {120,
     "bcc139b3848923904860d1eefd6e5923353f6d2bf0e91aa91b74a2e0b3f297510f7d825f"
     "1f80156a804cb7862ad113e8200e9d74499723e7c7854d5f48776d3148e09656"},
    {1000,
     "2b1e78d5765de9e10495a01412a1cf22414475341017ec91703435a6f290324818f983e9"
     "5097e7d587352f5097062ae679f37bda5802d9f875aba14c8cb4d1a188ada179"},
};

void digests_of(const uint8_t* message, size_t size, uint8_t* answer) {
    std::unique_ptr<uint8_t[]> out(new uint8_t[ANSWER]);
    custodes_digests(message, static_cast<int64_t>(size), out.get());
    std::memcpy(answer, out.get(), ANSWER);
}

bool is_known(const Known& known) {
    std::unique_ptr<uint8_t[]> message(new uint8_t[known.size]);
    for (size_t i = 0; i < known.size; i++) message[i] = static_cast<uint8_t>(31 * i + 7);
    uint8_t answer[ANSWER];
    char text[2 * ANSWER + 1];
    digests_of(message.get(), known.size, answer);
    for (size_t i = 0; i < ANSWER; i++) std::snprintf(text + 2 * i, 3, "%02x", answer[i]);
    return !std::strcmp(text, known.answer);
}

}  // namespace

bool check(Random& random) {
    if (!custodes_has_sha()) return true;
    for (const Known& known : KNOWN) {
        if (is_known(known)) continue;
        std::printf("digests of %d bytes differ\n", static_cast<int>(known.size));
        return false;
    }
    const size_t size = random.below(4) ? random.below(300) : random.below(100000), shift = random.below(64);
    std::unique_ptr<uint8_t[]> here(new uint8_t[size]), there(new uint8_t[shift + size]);
    for (size_t i = 0; i < size; i++) here[i] = there[shift + i] = static_cast<uint8_t>(random.next());
    uint8_t one[ANSWER], other[ANSWER];
    digests_of(here.get(), size, one);
    digests_of(there.get() + shift, size, other);
    if (!std::memcmp(one, other, ANSWER)) return true;
    std::printf("digests of %d bytes depend on where they lie\n", static_cast<int>(size));
    return false;
}
#else
bool check(Random&) { return true; }
#endif
