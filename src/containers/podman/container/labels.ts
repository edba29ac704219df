/** What a container's labels say of it: the record of who it is that Podman keeps. */
export const LABELS = {
  job: 'flashpods-job',
  jobId: 'flashpods-job-id',
  jobType: 'flashpods-job-type',
  epoch: 'flashpods-epoch',
  host: 'flashpods-host',
  deployment: 'flashpods-deployment',
  /** Id of its sandbox; containers of earlier versions have none, and their sandbox has their name for its id. */
  sandbox: 'flashpods-sandbox',
  /** On a container that is no job and never runs: the id of the image that it holds. */
  holds: 'flashpods-holds-image',
} as const;
