/** What a container's labels say of it: the record of who it is that Podman keeps. */
export const LABELS = {
  job: 'flashpods-job',
  jobId: 'flashpods-job-id',
  jobType: 'flashpods-job-type',
  epoch: 'flashpods-epoch',
  host: 'flashpods-host',
  deployment: 'flashpods-deployment',
} as const;
