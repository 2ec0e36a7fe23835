/* A camera for programs that know V4L2 only, to be loaded before them (LD_PRELOAD): opening the path in FANLIGHT_CAMERA
 * gives a device that delivers the JPEG files of the folder FANLIGHT_PICTURES, 000.jpg and on, FANLIGHT_RATE times a
 * second. Into each it writes the time, at the place that pictures.rs leaves for it. Buffers are mapped (V4L2_MEMORY_MMAP),
 * one device is open at a time, and one thread uses it. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include <linux/videodev2.h>

enum { MAX_PICTURES = 64, MAX_BUFFERS = 16, WIDTH = 1104, HEIGHT = 624 };

/* Buffer number n is mapped at offset n << OFFSET_SHIFT. */
enum { OFFSET_SHIFT = 24 };

/* As in pictures.rs. */
static const char comment[] = "\xff\xd8\xff\xfe\x00\x12" "fanlight";
enum { COMMENT_BYTES = sizeof comment - 1 };

static struct {
    unsigned char *bytes;
    size_t length;
} pictures[MAX_PICTURES];
static unsigned picture_count;
static size_t buffer_bytes;

static int device = -1;
static unsigned rate;
static unsigned sequence;
static void *mapped[MAX_BUFFERS];

/* Buffers that wait to be filled, oldest first. */
static unsigned queue[MAX_BUFFERS];
static unsigned queued;

static void read_pictures(void)
{
    const char *folder = getenv("FANLIGHT_PICTURES");
    while (folder && picture_count < MAX_PICTURES) {
        char path[4096];
        snprintf(path, sizeof path, "%s/%03u.jpg", folder, picture_count);
        FILE *file = fopen(path, "rb");
        if (!file)
            break;
        fseek(file, 0, SEEK_END);
        size_t length = (size_t)ftell(file);
        rewind(file);
        unsigned char *bytes = malloc(length);
        if (!bytes || fread(bytes, 1, length, file) != length)
            abort();
        fclose(file);
        pictures[picture_count].bytes = bytes;
        pictures[picture_count].length = length;
        picture_count++;
        if (length > buffer_bytes)
            buffer_bytes = length;
    }
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    buffer_bytes = (buffer_bytes + page - 1) / page * page;
}

static int is_camera(const char *path)
{
    const char *own = getenv("FANLIGHT_CAMERA");
    return own && path && !strcmp(own, path);
}

static int open_camera(void)
{
    if (!picture_count)
        read_pictures();
    const char *wanted = getenv("FANLIGHT_RATE");
    rate = wanted ? (unsigned)atoi(wanted) : 30;
    if (!picture_count || !rate) {
        errno = ENODEV;
        return -1;
    }
    device = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    long interval = 1000000000L / rate;
    struct itimerspec times = {{0, interval}, {0, interval}};
    if (device >= 0)
        timerfd_settime(device, 0, &times, NULL);
    queued = 0;
    return device;
}

#define OPEN(name)                                                                                                      \
    int name(const char *path, int flags, ...)                                                                          \
    {                                                                                                                   \
        if (is_camera(path))                                                                                            \
            return open_camera();                                                                                       \
        va_list arguments;                                                                                              \
        va_start(arguments, flags);                                                                                     \
        mode_t mode = (flags & (O_CREAT | O_TMPFILE)) ? va_arg(arguments, mode_t) : 0;                                  \
        va_end(arguments);                                                                                              \
        int (*real)(const char *, int, ...) = dlsym(RTLD_NEXT, #name);                                                  \
        return real(path, flags, mode);                                                                                 \
    }
OPEN(open)
OPEN(open64)

#define MMAP(name, offset_type)                                                                                         \
    void *name(void *address, size_t length, int protection, int flags, int file, offset_type offset)                  \
    {                                                                                                                   \
        void *(*real)(void *, size_t, int, int, int, offset_type) = dlsym(RTLD_NEXT, #name);                            \
        if (file != device || file < 0)                                                                                 \
            return real(address, length, protection, flags, file, offset);                                              \
        void *buffer = real(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);                  \
        unsigned number = (unsigned)(offset >> OFFSET_SHIFT);                                                           \
        if (number < MAX_BUFFERS)                                                                                       \
            mapped[number] = buffer;                                                                                    \
        return buffer;                                                                                                  \
    }
MMAP(mmap, off_t)
MMAP(mmap64, off64_t)

static int query_capabilities(struct v4l2_capability *answer)
{
    memset(answer, 0, sizeof *answer);
    strcpy((char *)answer->driver, "files");
    strcpy((char *)answer->card, "files");
    answer->capabilities = answer->device_caps = V4L2_CAP_VIDEO_CAPTURE | V4L2_CAP_STREAMING;
    return 0;
}

static int format(struct v4l2_format *answer)
{
    answer->fmt.pix.width = WIDTH;
    answer->fmt.pix.height = HEIGHT;
    answer->fmt.pix.pixelformat = V4L2_PIX_FMT_MJPEG;
    answer->fmt.pix.sizeimage = (uint32_t)buffer_bytes;
    answer->fmt.pix.bytesperline = 0;
    return 0;
}

static int parameters(struct v4l2_streamparm *answer)
{
    answer->parm.capture.capability = V4L2_CAP_TIMEPERFRAME;
    answer->parm.capture.timeperframe.numerator = 1;
    answer->parm.capture.timeperframe.denominator = rate;
    return 0;
}

static int request_buffers(struct v4l2_requestbuffers *request)
{
    if (request->count > MAX_BUFFERS)
        request->count = MAX_BUFFERS;
    queued = 0;
    return 0;
}

static int query_buffer(struct v4l2_buffer *buffer)
{
    buffer->length = (uint32_t)buffer_bytes;
    buffer->m.offset = buffer->index << OFFSET_SHIFT;
    return 0;
}

static int enqueue(const struct v4l2_buffer *buffer)
{
    if (queued == MAX_BUFFERS || buffer->index >= MAX_BUFFERS) {
        errno = EINVAL;
        return -1;
    }
    queue[queued++] = buffer->index;
    return 0;
}

static int dequeue(struct v4l2_buffer *buffer)
{
    uint64_t ticks;
    if (!queued || read(device, &ticks, sizeof ticks) != sizeof ticks) {
        errno = EAGAIN;
        return -1;
    }
    unsigned number = queue[0];
    memmove(queue, queue + 1, --queued * sizeof *queue);
    size_t length = pictures[sequence % picture_count].length;
    unsigned char *bytes = mapped[number];
    memcpy(bytes, pictures[sequence % picture_count].bytes, length);
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    if (length > COMMENT_BYTES + 8 && !memcmp(bytes, comment, COMMENT_BYTES)) {
        uint64_t time = htobe64((uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec);
        memcpy(bytes + COMMENT_BYTES, &time, sizeof time);
    }
    buffer->index = number;
    buffer->bytesused = (uint32_t)length;
    buffer->flags = 0;
    buffer->field = V4L2_FIELD_NONE;
    buffer->sequence = sequence++;
    buffer->timestamp.tv_sec = now.tv_sec;
    buffer->timestamp.tv_usec = now.tv_nsec / 1000;
    return query_buffer(buffer);
}

int ioctl(int file, unsigned long request, ...)
{
    va_list arguments;
    va_start(arguments, request);
    void *argument = va_arg(arguments, void *);
    va_end(arguments);
    if (file != device || file < 0) {
        int (*real)(int, unsigned long, ...) = dlsym(RTLD_NEXT, "ioctl");
        return real(file, request, argument);
    }
    /* Callers that hold requests in an int have them sign-extended. */
    switch ((unsigned)request) {
    case VIDIOC_QUERYCAP:
        return query_capabilities(argument);
    case VIDIOC_S_INPUT:
    case VIDIOC_STREAMON:
    case VIDIOC_STREAMOFF:
        return 0;
    case VIDIOC_S_FMT:
    case VIDIOC_G_FMT:
        return format(argument);
    case VIDIOC_S_PARM:
    case VIDIOC_G_PARM:
        return parameters(argument);
    case VIDIOC_REQBUFS:
        return request_buffers(argument);
    case VIDIOC_QUERYBUF:
        return query_buffer(argument);
    case VIDIOC_QBUF:
        return enqueue(argument);
    case VIDIOC_DQBUF:
        return dequeue(argument);
    default:
        errno = EINVAL;
        return -1;
    }
}
