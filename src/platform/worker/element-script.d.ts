/** Text files, which the bundler puts into the Worker. */
declare module "*.txt" {
  const text: string;
  export default text;
}
