/** Runs the jobs of `up` that name no image; made on this machine, of Debian's packages: see docs/images.md. */
export const BASE_IMAGE = 'localhost/flashpods/base:latest';
